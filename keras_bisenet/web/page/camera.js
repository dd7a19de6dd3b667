/** A camera of which only the newest frame counts: those that come too fast are dropped. */
export class Camera {
  /**
   * @param {number[]} size The network's [height, width]: no use in asking for much more.
   * @throws {Error} With one line for the user.
   */
  static async open([height, width]) {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new Error(
        "The camera needs an encrypted page: open it by https://, or as http://localhost.",
      );
    }
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({
        video: { facingMode: "environment", width: { ideal: width }, height: { ideal: height } },
      });
    } catch (error) {
      throw new Error(REFUSALS[error.name] ?? `The camera does not start: ${error.message}.`);
    }
    const video = document.createElement("video");
    video.muted = true;
    video.playsInline = true;
    video.srcObject = stream;
    await video.play();
    return new Camera(video, stream);
  }

  constructor(video, stream) {
    this._video = video;
    this._stream = stream;
    this.shown = 0; // frames that the camera gave
    this.isOpen = true;
    this._arrived = deferred();
    this._count();
    for (const track of stream.getTracks()) {
      track.onended = () => this.close(); // unplugged
    }
  }

  /** The newest frame, once there is one that was not taken before; null when it is closed. */
  async newest() {
    await this._arrived.promise;
    if (!this.isOpen) {
      return null;
    }
    this._arrived = deferred();
    return createImageBitmap(this._video);
  }

  close() {
    this.isOpen = false;
    this._arrived.resolve();
    for (const track of this._stream.getTracks()) {
      track.stop();
    }
    this._video.srcObject = null;
  }

  _count() {
    const next = (_, frame) => {
      this.shown = frame?.presentedFrames ?? this.shown + 1;
      this._arrived.resolve();
      if (this.isOpen) {
        this._count();
      }
    };
    if (this._video.requestVideoFrameCallback) {
      this._video.requestVideoFrameCallback(next);
    } else {
      requestAnimationFrame(() => next());
    }
  }
}

const REFUSALS = {
  NotAllowedError: "The camera was not allowed: allow it for this page, and try again.",
  NotFoundError: "There is no camera here: plug one in, or open a picture.",
  NotReadableError: "The camera is in use by another program: close that, and try again.",
};

function deferred() {
  let resolve;
  const promise = new Promise((done) => {
    resolve = done;
  });
  return { promise, resolve };
}
