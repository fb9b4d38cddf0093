// Browsers load no web worker from file://, so the search of the site runs in a hidden frame there.
if (location.protocol === 'file:') {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.waiting = []
      const frame = document.createElement('iframe')
      frame.hidden = true
      document.body.append(frame)
      this.window = frame.contentWindow
      // What the worker's script posts comes to this object.
      this.window.postMessage = data => this.dispatchEvent(new MessageEvent('message', { data }))
      const script = frame.contentDocument.createElement('script')
      script.src = url
      script.onload = () => {
        this.loaded = true
        this.waiting.splice(0).forEach(data => this.postMessage(data))
      }
      frame.contentDocument.body.append(script)
    }
    postMessage(data) {
      if (!this.loaded) this.waiting.push(data)
      else this.window.dispatchEvent(new this.window.MessageEvent('message', { data }))
    }
    terminate() { this.window.frameElement.remove() }
  }
}
