// Many clients of centrifuge-js in one process, which is told on stdin what to do. Each line is a JSON document:
//
//   in   {"id": 4, "verb": "publish", "key": 1, "channel": "chat:1", "data": {}}
//   out  {"reply": 4, "result": …}  or  {"reply": 4, "error": {"code": 103, "message": "permission denied"}}
//   out  {"key": 1, "event": "connected", "context": {"client": "…"}}
//   out  {"ask": 2, "key": 1, "what": "getToken"}
//   in   {"answer": 2, "result": "a token"}
//
// A key is the number that the other side has given to a client or a subscription. Bytes: {"$bytes": "base64"}.

import { createInterface } from 'node:readline'
import { Centrifuge } from 'centrifuge'
import { Centrifuge as CentrifugeProtobuf } from 'centrifuge/build/protobuf'
import { EventSource } from 'eventsource'
import WebSocket from 'ws'

const SUBSCRIPTION_EVENTS = ['subscribing', 'subscribed', 'unsubscribed', 'publication', 'join', 'leave', 'error']
const CLIENT_EVENTS = [...SUBSCRIPTION_EVENTS, 'connecting', 'connected', 'disconnected', 'message']

const held = new Map()
const questions = new Map()

const verbs = {
  client({ key, url, protobuf, asks, options }) {
    const Client = protobuf ? CentrifugeProtobuf : Centrifuge
    const given = { websocket: WebSocket, eventsource: EventSource, ...options, ...askers(key, asks) }
    hold(key, new Client(url, given), CLIENT_EVENTS)
  },
  subscription({ key, client, channel, asks, options }) {
    const subscription = held.get(client).newSubscription(channel, { ...options, ...askers(key, asks) })
    hold(key, subscription, SUBSCRIPTION_EVENTS)
  },
  connect: ({ key }) => held.get(key).connect(),
  disconnect: ({ key }) => held.get(key).disconnect(),
  subscribe: ({ key }) => held.get(key).subscribe(),
  unsubscribe: ({ key }) => void held.get(key).unsubscribe(),
  deltaStats: ({ key }) => held.get(key).deltaStats(),
  publish: ({ key, channel, data }) => held.get(key).publish(channel, data),
  history: ({ key, channel, options }) => held.get(key).history(channel, options),
  presenceStats: ({ key, channel }) => held.get(key).presenceStats(channel),
  rpc: ({ key, method, data }) => held.get(key).rpc(method, data),
  send: ({ key, data }) => held.get(key).send(data),
  async presence({ key, channel }) {
    const { clients } = await held.get(key).presence(channel)
    return Object.values(clients).map(({ user, client, connInfo, chanInfo }) => ({ user, client, connInfo, chanInfo }))
  },
  drop({ key }) {
    held.get(key).removeAllListeners()
    held.delete(key)
  },
}

function hold(key, emitter, events) {
  held.set(key, emitter)
  for (const event of events) {
    emitter.on(event, ({ error, ...context }) =>
      say({ key, event, context: error ? { ...context, code: error.code, reason: error.message } : context }),
    )
  }
}

/** Callbacks that ask the other side; each call waits for its own answer. */
function askers(key, asks) {
  return Object.fromEntries(asks.map((what) => [what, () => ask(key, what)]))
}

function ask(key, what) {
  return new Promise((resolve) => {
    const number = ask.count++
    questions.set(number, resolve)
    say({ ask: number, key, what })
  })
}
ask.count = 0

async function obey({ id, verb, ...order }) {
  try {
    say({ reply: id, result: (await verbs[verb](order)) ?? null })
  } catch (error) {
    if (error instanceof Error) throw error // a mistake of ours; what a server answers is a plain object
    say({ reply: id, error })
  }
}

function say(document) {
  process.stdout.write(JSON.stringify(document, withBytes) + '\n')
}

function withBytes(key, value) {
  const original = this[key] // a Buffer, before its toJSON made something else of it
  return original instanceof Uint8Array ? { $bytes: Buffer.from(original).toString('base64') } : value
}

function fromBytes(_key, value) {
  return typeof value?.$bytes === 'string' ? new Uint8Array(Buffer.from(value.$bytes, 'base64')) : value
}

const input = createInterface({ input: process.stdin })
input.on('close', () => process.exit(0))
input.on('line', (line) => {
  const document = JSON.parse(line, fromBytes)
  if ('answer' in document) {
    questions.get(document.answer)(document.result)
    questions.delete(document.answer)
  } else {
    obey(document)
  }
})
