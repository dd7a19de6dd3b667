/** Has the service worker keep the page's files. */

/**
 * @param {string[]} addresses Of all that the page needs.
 * @return {Promise<boolean>} Whether they are kept.
 */
export async function keepForOffline(addresses) {
  if (!navigator.serviceWorker) {
    return false; // as on pages without encryption
  }
  try {
    await navigator.serviceWorker.register("sw.js");
    const { active } = await navigator.serviceWorker.ready;
    const { port1, port2 } = new MessageChannel();
    const answer = new Promise((resolve) => {
      port1.onmessage = ({ data }) => resolve(data);
    });
    active.postMessage({ keep: [...new Set(addresses)] }, [port2]);
    return (await answer).kept;
  } catch {
    return false; // private windows of some browsers; the page works all the same
  }
}
