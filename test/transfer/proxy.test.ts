/** Through which proxy a connection goes. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import { expect, it } from 'vitest'
import { connect } from '../../client/transfer/connection.ts'

/** A proxy that notes whom it is asked for, and passes nothing on. */
async function startProxy() {
  const asked: string[] = []
  const proxy = createServer((request, response) => {
    asked.push(String(request.headers.host))
    response.writeHead(418).end()
  })
  proxy.on('connect', (request, socket) => {
    asked.push(String(request.url))
    socket.end('HTTP/1.1 418 No\r\n\r\n')
  })
  await once(proxy.listen(0, '127.0.0.1'), 'listening')
  const address = proxy.address()
  const port = typeof address === 'object' ? address?.port : undefined
  return {
    asked,
    url: `http://127.0.0.1:${port}`,
    [Symbol.dispose]() {
      proxy.closeAllConnections()
      proxy.close()
    },
  }
}

it('asks the proxy of the scheme for a server that no exception names', async () => {
  using proxy = await startProxy()
  await using connection = connect({
    url: 'http://artifacts.example',
    proxy: { http: proxy.url },
  })
  const asking = connection.send({ method: 'GET', url: '/x', authorize: false })
  await asking.then(
    (reply) => reply.drop(),
    () => undefined,
  )
  expect(proxy.asked).toEqual([expect.stringMatching(/^artifacts\.example(:80)?$/)])
})

it('goes past the proxy to a host that an exception names', async () => {
  using proxy = await startProxy()
  using server = await startProxy()
  await using connection = connect({
    url: server.url,
    proxy: { http: proxy.url, none: '127.0.0.1' },
  })
  const reply = await connection.send({ method: 'GET', url: '/x?y=1', authorize: false })
  reply.drop()
  expect(reply.status).toBe(418)
  expect(proxy.asked).toEqual([])
})
