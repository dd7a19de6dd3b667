/** The worker from the page's side: requests that are promises. */
export class Client {
  /** @param {(share: number) => void} progress Called while the model is loading. */
  constructor(progress) {
    this._requests = new Map();
    this._lastId = 0;
    this._isOpen = true;
    this._worker = new Worker("worker.js");
    this._worker.onmessage = ({ data: { id, result, error, progress: share } }) => {
      if (id === undefined) {
        progress(share);
        return;
      }
      const { resolve, reject } = this._requests.get(id);
      this._requests.delete(id);
      if (error === undefined) {
        resolve(result);
      } else {
        reject(new Error(error));
      }
    };
    this._worker.onerror = (event) => {
      event.preventDefault();
      this.close(new Error(`The page's worker ended (${event.message || "no reason given"}).`));
    };
  }

  /** Asks the worker; see worker.js. */
  request(what, message, transfer = []) {
    if (!this._isOpen) {
      return Promise.reject(new Error("The page's worker has ended: reload the page."));
    }
    const id = ++this._lastId;
    return new Promise((resolve, reject) => {
      this._requests.set(id, { resolve, reject });
      this._worker.postMessage({ id, what, ...message }, transfer);
    });
  }

  /** Ends the worker. What it has not answered fails: with `error`, or null where nobody cares. */
  close(error = null) {
    this._isOpen = false;
    this._worker.terminate();
    for (const { reject } of this._requests.values()) {
      reject(error);
    }
    this._requests.clear();
  }
}
