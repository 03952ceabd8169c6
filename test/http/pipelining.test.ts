/** Several requests on one connection before the first is answered: in order, and few. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startTestServer, type TestServer } from '../support/server.ts'

let server: TestServer
beforeAll(async () => {
  server = await startTestServer()
})
afterAll(() => server[Symbol.asyncDispose]())

async function open(): Promise<Socket> {
  const { hostname, port } = new URL(server.url)
  const socket = connect(Number(port), hostname)
  await once(socket, 'connect')
  return socket
}

const ask = (path: string, body?: object) => {
  const text = body === undefined ? '' : JSON.stringify(body)
  const type = `content-type: application/json\r\ncontent-length: ${text.length}\r\n`
  const head = `host: x\r\nauthorization: Bearer ${server.token}\r\n${body === undefined ? '' : type}`
  return `${body === undefined ? 'GET' : 'POST'} ${path} HTTP/1.1\r\n${head}\r\n${text}`
}

/** What comes until it has all these words. */
async function readUntil(socket: Socket, words: readonly string[]): Promise<string> {
  let text = ''
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    text += String(chunk)
    if (words.every((word) => text.includes(word))) return text
  }
  throw new Error(`The connection ended after ${text}`)
}

describe('requests that come at once', () => {
  it('are answered one after the other, with their bodies', async () => {
    const socket = await open()
    const paths = ['a', 'b', 'c'].map((task) => `/v1/tasks/${task}/runs`)
    const requestId = () => crypto.randomUUID()
    socket.write(paths.map((path) => ask(path, { requestId: requestId() })).join(''))
    const text = await readUntil(socket, ['"task":"a"', '"task":"b"', '"task":"c"'])
    expect(text.match(/"task":"."/g)).toEqual(['"task":"a"', '"task":"b"', '"task":"c"'])
    // The connection is as good as before.
    socket.write(ask('/healthz'))
    expect(await readUntil(socket, ['200 OK'])).toContain('200 OK')
    socket.destroy()
  })

  it('are not begun before the one ahead of them is answered', async () => {
    const socket = await open()
    const runs = '/v1/tasks/behind/runs'
    const body = { requestId: crypto.randomUUID() }
    socket.write(ask('/v1/events') + ask(runs, body))
    await readUntil(socket, ['text/event-stream', 'id:'])
    expect((await server.request('GET', runs)).status).toBe(404)
    socket.destroy()
    expect((await server.request('GET', runs)).status).toBe(404)
  })

  it('are cut off when they are many, and no connection else', async () => {
    const [greedy, other] = [await open(), await open()]
    greedy.write(ask('/v1/events') + ask('/v1/tasks').repeat(100))
    greedy.resume()
    await once(greedy, 'close')
    other.write(ask('/healthz'))
    expect(await readUntil(other, ['200 OK'])).toContain('200 OK')
    other.destroy()
  })
})
