// Many Yjs clients in one process, which is told on stdin what to do. Each line is a JSON document:
//
//   in   {"id": 4, "verb": "insert", "key": 1, "at": 0, "text": "hello"}
//   out  {"reply": 4, "result": …}  or  {"reply": 4, "error": "…"}
//   out  {"key": 1, "event": "synced", "detail": …}
//   out  {"ask": 2, "key": 1}            a provider wants its token
//   in   {"answer": 2, "result": "a token"}
//
// A key is the number that the other side has given to a client. The text under test is the root type "t".

import { createInterface } from 'node:readline'
import { HocuspocusProvider, HocuspocusProviderWebsocket } from '@hocuspocus/provider'
import { HocuspocusProvider as HocuspocusProvider2 } from 'hocuspocus-provider-2'
import { HocuspocusProvider as HocuspocusProvider3 } from 'hocuspocus-provider-3'
import WebSocket from 'ws'
import { WebsocketProvider } from 'y-websocket'
import * as Y from 'yjs'

globalThis.WebSocket = WebSocket // version 2 passes no polyfill on
const hocuspocus = { 2: HocuspocusProvider2, 3: HocuspocusProvider3, 4: HocuspocusProvider }
const clients = new Map()
const sockets = new Map()
const questions = new Map()

const verbs = {
  yWebsocket({ key, url, name, params = {}, text = '', options = {} }) {
    const doc = new Y.Doc()
    doc.getText('t').insert(0, text)
    const provider = new WebsocketProvider(url, name, doc, {
      WebSocketPolyfill: WebSocket,
      disableBc: true,
      params,
      ...options,
    })
    keep(key, doc, provider)
    provider.on('sync', (synced) => say({ key, event: 'sync', detail: synced }))
    provider.on('status', ({ status }) => say({ key, event: 'status', detail: status }))
    provider.on('connection-close', (event) => event && say({ key, event: 'closed', detail: event.code }))
  },
  socket({ key, url }) {
    sockets.set(key, new HocuspocusProviderWebsocket({ url, WebSocketPolyfill: WebSocket, delay: 100, minDelay: 100 }))
  },
  hocuspocus({ key, url, name, socket, token, version = 4, asks = false, text = '', options = {} }) {
    const doc = new Y.Doc()
    doc.getText('t').insert(0, text)
    const provider = new hocuspocus[version]({
      name,
      document: doc,
      broadcast: false, // between tabs, which version 2 has
      token: asks ? () => ask(key) : token,
      ...(socket ? { websocketProvider: sockets.get(socket) } : { url, WebSocketPolyfill: WebSocket }),
      ...options,
      onSynced: () => say({ key, event: 'sync', detail: true }),
      onAuthenticated: (event) => say({ key, event: 'authenticated', detail: event?.scope ?? null }),
      onAuthenticationFailed: ({ reason }) => say({ key, event: 'authenticationFailed', detail: reason }),
      onStateless: ({ payload }) => say({ key, event: 'stateless', detail: payload }),
      onClose: ({ event }) => say({ key, event: 'closed', detail: event.code }),
    })
    provider.on('unsyncedChanges', (event) => say({ key, event: 'unsynced', detail: event.number ?? event }))
    if (socket) provider.attach()
    keep(key, doc, provider)
  },
  insert: ({ key, at, text }) => clients.get(key).doc.getText('t').insert(at, text),
  delete: ({ key, at, length }) => clients.get(key).doc.getText('t').delete(at, length),
  text: ({ key }) => clients.get(key).doc.getText('t').toString(),
  state: ({ key }) => Buffer.from(Y.encodeStateAsUpdate(clients.get(key).doc)).toString('base64'),
  clientId: ({ key }) => clients.get(key).doc.clientID,
  apply: ({ key, update }) => Y.applyUpdate(clients.get(key).doc, Buffer.from(update, 'base64')),
  set: ({ key, state }) => clients.get(key).provider.awareness.setLocalState(state),
  seen: ({ key }) => Object.fromEntries(clients.get(key).provider.awareness.getStates()),
  unsynced: ({ key }) => clients.get(key).provider.unsyncedChanges,
  connect: ({ key }) => void clients.get(key).provider.connect(),
  disconnect: ({ key }) => clients.get(key).provider.disconnect(),
  attach: ({ key }) => clients.get(key).provider.attach(),
  detach: ({ key }) => clients.get(key).provider.detach(),
  forceSync: ({ key }) => clients.get(key).provider.forceSync(),
  stateless: ({ key, payload }) => clients.get(key).provider.sendStateless(payload),
  token: ({ key }) => clients.get(key).provider.sendToken(),
  params: ({ key, params }) => void (clients.get(key).provider.params = params),
  destroy: ({ key }) => destroy(key),
  closeSocket({ key }) {
    sockets.get(key).destroy()
    sockets.delete(key)
  },
  cut({ key }) {
    const { provider } = clients.get(key) // as a crash would: no farewell
    const ws = provider.ws ?? provider.configuration?.websocketProvider?.webSocket
    ws?.terminate() // there is none while it reconnects
  },
}

function keep(key, doc, provider) {
  clients.set(key, { doc, provider })
  doc.getText('t').observe(() => say({ key, event: 'text', detail: doc.getText('t').toString() }))
  provider.awareness?.on('change', () => say({ key, event: 'awareness', detail: null }))
}

function destroy(key) {
  const { doc, provider } = clients.get(key)
  clients.delete(key)
  provider.destroy()
  doc.destroy()
}

function ask(key) {
  return new Promise((resolve) => {
    const number = ask.count++
    questions.set(number, resolve)
    say({ ask: number, key })
  })
}
ask.count = 0

async function obey({ id, verb, ...order }) {
  try {
    say({ reply: id, result: (await verbs[verb](order)) ?? null })
  } catch (error) {
    say({ reply: id, error: String(error?.stack ?? error) })
  }
}

function say(document) {
  process.stdout.write(JSON.stringify(document) + '\n')
}

console.warn = console.error // stdout is ours
console.log = console.error

const input = createInterface({ input: process.stdin })
input.on('close', () => process.exit(0))
input.on('line', (line) => {
  const document = JSON.parse(line)
  if ('answer' in document) {
    questions.get(document.answer)(document.result)
    questions.delete(document.answer)
  } else {
    obey(document)
  }
})
