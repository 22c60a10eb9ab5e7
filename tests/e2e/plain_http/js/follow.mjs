// npm `eventsource`, unmodified: each event as a line of JSON, [type, data, last event id].
import { EventSource } from 'eventsource'

const [url, ...names] = process.argv.slice(2)
const source = new EventSource(url)
for (const name of names) {
  source.addEventListener(name, (event) => {
    console.log(JSON.stringify([event.type, JSON.parse(event.data), event.lastEventId]))
  })
}
source.addEventListener('error', (event) => {
  // CONNECTING: it comes back by itself. CLOSED: it has given up, for what the server said.
  if (source.readyState === source.CLOSED) {
    console.log(JSON.stringify(['closed', event.code ?? null, '']))
    process.exit(0)
  }
})
