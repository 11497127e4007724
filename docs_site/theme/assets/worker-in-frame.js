// The search of the site runs in a worker. Browsers start no worker for a page that was opened as a file. There, this
// class runs the worker's script in a hidden frame.
if (location.protocol === "file:") {
  window.Worker = class {
    onmessage = null;
    onmessageerror = null;
    onerror = null;
    #channel = new MessageChannel(); // copies messages and delivers them later, as for a worker
    #frame = document.createElement("iframe");

    constructor(url) {
      this.#channel.port1.onmessage = ({ data }) => this.onmessage?.(new MessageEvent("message", { data }));
      this.#frame.hidden = true;
      this.#frame.srcdoc = "<!doctype html>"; // a frame of the same origin
      this.#frame.addEventListener("load", () => this.#start(url), { once: true });
      document.body.append(this.#frame);
    }

    #start(url) {
      const inner = this.#frame.contentWindow;
      const port = this.#channel.port2;
      inner.postMessage = (data) => port.postMessage(data);
      const script = inner.document.createElement("script");
      script.src = url;
      // The port keeps all messages until it gets this handler.
      script.onload = () => (port.onmessage = ({ data }) => inner.dispatchEvent(new MessageEvent("message", { data })));
      script.onerror = (event) => this.onerror?.(event);
      inner.document.head.append(script);
    }

    postMessage(data) {
      this.#channel.port1.postMessage(data);
    }

    terminate() {
      this.#channel.port1.close();
      this.#frame.remove();
    }
  };
}
