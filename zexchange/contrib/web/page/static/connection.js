// The connection with the server: it says what is shown, and gets pictures of that.

const WAITS = [250, 500, 1000, 2000, 5000]
const BAD_TOKEN = 4401
const FINAL = new Map([
  [4400, "the server does not understand this page: reload it"],
  [4403, "the server lets no page of this address connect"],
])

export class Connection {
  // told(picture), state(name, text): "connected", "connecting", "token" or "refused".
  constructor(told, state) {
    this.told = told
    this.state = state
    this.number = 0
    this.asked = null
    this.tries = 0
    this.address = new URL("watch", import.meta.url)
    this.address.protocol = this.address.protocol.replace("http", "ws")
  }

  open(token) {
    this.token = token
    clearTimeout(this.timer)
    this.socket?.close()
    const socket = (this.socket = new WebSocket(this.address))
    this.state("connecting", "connecting")
    socket.onopen = () => socket.send(JSON.stringify({ zexchange: 1, token }))
    socket.onmessage = ({ data }) => {
      if (socket !== this.socket) return
      const said = JSON.parse(data)
      if (said.welcome === undefined) {
        if (said.number === this.number) this.told(said)
        return
      }
      this.tries = 0
      this.welcomed = true
      this.state("connected", "live", said)
      this.say()
    }
    socket.onclose = ({ code, reason }) => {
      if (socket !== this.socket) return
      this.welcomed = false
      if (code === BAD_TOKEN) return this.state("token", reason)
      if (FINAL.has(code)) return this.state("refused", FINAL.get(code))
      this.state("connecting", "no connection: trying again")
      const wait = WAITS[Math.min(this.tries++, WAITS.length - 1)]
      this.timer = setTimeout(() => this.open(this.token), wait)
    }
  }

  ask(asked) {
    this.asked = asked
    this.number += 1
    this.say()
  }

  say() {
    if (!this.welcomed || !this.asked) return
    this.socket.send(JSON.stringify({ number: this.number, ...this.asked }))
  }
}
