#!/usr/bin/env bash
# The unit that `keras-bisenet live --print-unit` prints, under a real systemd: it starts, serves,
# and stops; and one whose camera hangs is started anew by its watchdog.
#
#     sudo tools/check_systemd.sh
#
# In a Debian of its own (systemd-nspawn), with this package and the dependencies of a Python 3.11.
# Needs root, debootstrap, systemd-container, and:
#
#     PACKAGES  a folder of Python 3.11 packages with the device half's dependencies and PyAV
#               [those of `python3.11`]
#     ROOT      where Debian goes, some 400 MB  [/var/tmp/keras-bisenet-systemd]
#
# Exit status: 0 when all of it holds, 1 when it does not.
set -euo pipefail

APP=$(cd "$(dirname "$0")/.." && pwd)
PACKAGES=${PACKAGES:-$(python3.11 -c 'import numpy, pathlib; print(pathlib.Path(numpy.__file__).parents[1])')}
ROOT=${ROOT:-/var/tmp/keras-bisenet-systemd}
LOG=$ROOT/root/trial.log

if [ ! -e "$ROOT/installed" ]; then
  debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,python3,libstdc++6,curl,procps \
    bookworm "$ROOT" http://deb.debian.org/debian >&2
  touch "$ROOT/installed"
fi
mkdir -p "$ROOT/opt/app" "$ROOT/opt/site" "$ROOT/etc/systemd/system/multi-user.target.wants"

cat >"$ROOT/usr/local/bin/keras-bisenet" <<'X'
#!/bin/sh
PYTHONPATH=/opt/app:/opt/site PYTHONDONTWRITEBYTECODE=1 exec python3 -m keras_bisenet.cli "$@"
X

# A camera that gives pictures for a while; with HANGS it then says nothing more.
cat >"$ROOT/usr/local/bin/rpicam-vid" <<'X'
#!/usr/bin/python3
import io, itertools, os, sys, time
sys.path.insert(0, "/opt/site")
import numpy as np
from PIL import Image
end = time.monotonic() + 8
for i in itertools.count():
    if os.path.exists("/etc/camera-hangs") and time.monotonic() > end:
        time.sleep(10000)
    file = io.BytesIO()
    Image.fromarray(np.full((360, 480, 3), i % 256, np.uint8)).save(file, "JPEG")
    sys.stdout.buffer.write(file.getvalue())
    sys.stdout.buffer.flush()
    time.sleep(0.05)
X

cat >"$ROOT/usr/local/bin/trial" <<'X'
#!/bin/bash
set -e
check() { echo "$1: $2"; [[ "$2" == $3 ]] || { echo "FAILS: not $3"; exit 1; }; }
code() { curl -s -o /dev/null -w '%{http_code}' "$@" || true; }
value() { systemctl show "$1" -p "$2" --value; }
trap 'systemctl poweroff' EXIT
for group in plugdev render video; do groupadd -f $group; done
install -d -m 700 /etc/keras-bisenet
head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n' >/etc/keras-bisenet/token
chmod 600 /etc/keras-bisenet/token
keras-bisenet live pi --listen 0.0.0.0:8000 --token-file /etc/keras-bisenet/token --print-unit \
  >/etc/systemd/system/bisenet.service
systemd-analyze verify /etc/systemd/system/bisenet.service
systemctl daemon-reload
systemctl start bisenet
check "started when it had its first answer" "$(value bisenet ActiveState)" active
check "its user" "$(ps -o user= -C python3 | head -1)" "[!r]*"
check "health" "$(code http://127.0.0.1:8000/healthz)" 200
check "the page without the token" "$(code http://127.0.0.1:8000/)" 401
token=$(cat /etc/keras-bisenet/token)
check "and with it" "$(code -H "Authorization: Bearer $token" http://127.0.0.1:8000/)" 200
systemctl stop bisenet
check "stopped" "$(value bisenet Result)" success
touch /etc/camera-hangs
sed -i 's/WatchdogSec=30/WatchdogSec=10/' /etc/systemd/system/bisenet.service
systemctl daemon-reload
systemctl start bisenet
for _ in $(seq 60); do
  sleep 1
  [ "$(value bisenet NRestarts)" = 0 ] || break
done
check "restarts by the watchdog" "$(value bisenet NRestarts)" 1
sleep 8
check "health after it" "$(code http://127.0.0.1:8000/healthz)" 200
journalctl -u bisenet --no-pager -o cat | grep -E "Watchdog|restart" | head -3
echo "all of it holds"
X
chmod 755 "$ROOT"/usr/local/bin/{keras-bisenet,rpicam-vid,trial}
rm -f "$ROOT/etc/camera-hangs" "$LOG"

cat >"$ROOT/etc/systemd/system/trial.service" <<'X'
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/usr/local/bin/trial
StandardOutput=file:/root/trial.log
StandardError=inherit
TimeoutStartSec=600
X
ln -sf ../trial.service "$ROOT/etc/systemd/system/multi-user.target.wants/trial.service"

SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn --quiet --register=no --keep-unit -b -D "$ROOT" \
  --bind-ro="$APP:/opt/app" --bind-ro="$PACKAGES:/opt/site" >"$ROOT/boot.log" 2>&1 || true
cat "$LOG"
grep -qx "all of it holds" "$LOG"
