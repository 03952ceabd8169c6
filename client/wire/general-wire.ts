/** HTTP by undici, which knows proxies. */
import { Readable } from 'node:stream'
import { Agent, type Dispatcher, EnvHttpProxyAgent, request as sendRequest } from 'undici'
import { flattenHeaders, type Patience, type Wire } from './wire.ts'

export interface Proxies {
  http?: string | undefined
  https?: string | undefined
  none?: string | undefined
}

/** A wire for everything; throws when the address of a proxy is none. */
export function openGeneralWire(patience: Patience, proxies: Proxies | undefined): Wire {
  const dispatcher = createDispatcher(patience, proxies)
  return {
    async send({ method, url, headers, body, signal }) {
      const reply = await sendRequest(url, {
        dispatcher,
        method,
        signal,
        headers,
        ...(body === undefined ? {} : { body: typeof body === 'string' ? body : toReadable(body) }),
      })
      return {
        status: reply.statusCode,
        headers: flattenHeaders(reply.headers),
        body: reply.body,
        drop: () => void reply.body.on('error', () => undefined).destroy(),
      }
    },
    close: () => dispatcher.destroy(),
  }
}

function createDispatcher(patience: Patience, proxies: Proxies | undefined): Dispatcher {
  const options = {
    // With HTTP/2 all requests would share one socket, and its window.
    allowH2: false,
    pipelining: 1,
    // Above what any transfer here opens at once; that is bounded where the transfer is.
    connections: 128,
    connect: { timeout: patience.connectMs },
    headersTimeout: patience.replyMs,
    bodyTimeout: patience.stallMs,
  }
  if (proxies === undefined) return new Agent(options)
  // An empty text stands for "none", where an absent one would mean the environment.
  return new EnvHttpProxyAgent({
    ...options,
    httpProxy: proxies.http ?? '',
    httpsProxy: proxies.https ?? '',
    noProxy: proxies.none ?? '',
  })
}

function toReadable(body: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Readable {
  return Readable.from(body, { objectMode: false })
}
