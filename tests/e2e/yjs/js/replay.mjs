// Types a recorded trace through real providers, one for each author, and prints what became of it as JSON.
//
//   node replay.mjs ws://127.0.0.1:8000 DOCUMENT TRACE.json[.gz]
//
// A trace is `{"txns": [{"patches": [[position, deleted, inserted], …], "parents": […], "agent": 0}, …], "endContent": "…"}`;
// without `parents` each transaction follows on the one before. Positions refer to the document at the parents. So every
// author has a replica that holds just these, and what is typed there goes into the document that a provider keeps in
// step: as soon as the server has brought that document what the author had seen, and however much more has come.

import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { setImmediate, setTimeout } from 'node:timers/promises'
import { gunzipSync } from 'node:zlib'
import { HocuspocusProvider } from '@hocuspocus/provider'
import WebSocket from 'ws'
import { WebsocketProvider } from 'y-websocket'
import * as Y from 'yjs'

const AT_ONCE = 64 // transactions between two looks at the socket
const QUEUED_MAX = 1 << 18

const [url, name, file] = process.argv.slice(2)
const bytes = readFileSync(file)
const { txns, endContent, startContent = '' } = JSON.parse(file.endsWith('.gz') ? gunzipSync(bytes) : bytes)
if (startContent || /[\ud800-\udfff]/.test(endContent)) throw new Error('positions would not be UTF-16')

const textOf = (doc) => doc.getText('t')

class Client {
  constructor(number) {
    this.doc = new Y.Doc()
    const options = { WebSocketPolyfill: WebSocket, disableBc: true }
    this.provider = number % 2
      ? new HocuspocusProvider({ url: `${url}/hocuspocus`, name, document: this.doc, ...options })
      : new WebsocketProvider(`${url}/yjs`, name, this.doc, options)
    this.synced = new Promise((resolve) => this.provider.on('synced', resolve))
  }

  async type(typed) {
    await this.synced
    for (const [index, { update, after }] of typed.entries()) {
      if (after) await this.until(() => covers(this.doc, after))
      Y.applyUpdate(this.doc, update)
      if (index % AT_ONCE === AT_ONCE - 1) await this.drained()
    }
  }

  has(text) {
    return this.until(() => textOf(this.doc).length === text.length && textOf(this.doc).toString() === text)
  }

  async until(condition) {
    while (!condition()) await new Promise((resolve) => this.doc.once('update', resolve))
  }

  async drained() {
    await setImmediate() // time to hear of the others
    const socket = this.provider.ws ?? this.provider.configuration.websocketProvider.webSocket
    while (socket.bufferedAmount > QUEUED_MAX) await setTimeout(5)
  }
}

// typed: {update, after}: after what it may be applied, as client → clock; null where the update before is enough.
class Author {
  constructor() {
    this.replica = new Y.Doc()
    this.typed = []
    this.seen = [] // of each author, how many transactions the replica holds
    this.count = 0
    this.updates = [] // one for each transaction; null for those that changed nothing
    this.replica.on('update', (update, origin) => origin === this && (this.updates[this.count] = update))
  }

  type(patches, after) {
    this.updates[this.count] = null
    this.replica.transact(() => {
      for (const [position, deleted, inserted] of patches) {
        if (deleted) textOf(this.replica).delete(position, deleted)
        if (inserted) textOf(this.replica).insert(position, inserted)
      }
    }, this)
    const update = this.updates[this.count]
    if (update) this.typed.push({ update, after })
    this.count += 1
  }

  // What the replica holds then, if that is more than before.
  learn(version, authors) {
    let more = false
    authors.forEach((author, number) => {
      const from = this.seen[number] ?? 0
      if (author === this || version[number] <= from) return
      for (const update of author.updates.slice(from, version[number])) if (update) Y.applyUpdate(this.replica, update)
      this.seen[number] = version[number]
      more = true
    })
    return more ? Y.decodeStateVector(Y.encodeStateVector(this.replica)) : null
  }
}

function covers(doc, vector) {
  for (const [client, clock] of vector) if (Y.getState(doc.store, client) < clock) return false
  return true
}

const authors = Array.from({ length: 1 + txns.reduce((most, { agent = 0 }) => Math.max(most, agent), 0) }, () => new Author())
const versions = [] // of each transaction: how many transactions of each author it includes, itself too
for (const [index, { patches, parents = index ? [index - 1] : [], agent = 0 }] of txns.entries()) {
  const version = authors.map((_, number) => parents.reduce((most, parent) => Math.max(most, versions[parent][number]), 0))
  if (version[agent] !== authors[agent].count) throw new Error(`transaction ${index} doesn't follow on its author's last`)
  authors[agent].type(patches, authors[agent].learn(version, authors))
  version[agent] += 1
  versions.push(version)
}

const begun = performance.now()
const clients = authors.map((_, number) => new Client(number))
await Promise.all(clients.map((client, number) => client.type(authors[number].typed)))
const whole = new Y.Doc()
for (const { typed } of authors) for (const { update } of typed) Y.applyUpdate(whole, update)
const text = textOf(whole).toString()
await Promise.all([...clients, new Client(0), new Client(1)].map((client) => client.has(text)))
const seconds = (performance.now() - begun) / 1000

process.stdout.write(JSON.stringify({ transactions: txns.length, seconds, text, recorded: text === endContent }) + '\n')
if (process.stdout.writableNeedDrain) await once(process.stdout, 'drain')
process.exit(0)
