/** What every HTTP client here does for a connection: one request, sent once, and its answer. */

export interface WireRequest {
  method: string
  url: URL
  headers: Readonly<Record<string, string>>
  body?: string | Iterable<Uint8Array> | AsyncIterable<Uint8Array> | undefined
  signal: AbortSignal
  /** Hears how long it took to connect, in ms, when a connection was made for it. */
  onConnected?: ((milliseconds: number) => void) | undefined
}

export interface WireReply {
  status: number
  /** By lower-case name; of a repeated header the last value. */
  headers: Record<string, string>
  body: AsyncIterable<Uint8Array>
  /** Gives up what is left of the body; reading it then throws. */
  drop(): void
}

/** How long a wire waits, in ms: to be connected, for an answer to begin, and for its next byte. */
export interface Patience {
  connectMs: number
  replyMs: number
  stallMs: number
}

export interface Wire {
  /** Sends a request; follows no redirect. Throws errors of the network as it has them. */
  send(request: WireRequest): Promise<WireReply>
  /** Closes all sockets. */
  close(): Promise<void>
}

/** Headers with one value each: of a repeated one the last. */
export function flattenHeaders(
  headers: Readonly<Record<string, string | string[] | undefined>>,
): Record<string, string> {
  const flat: Record<string, string> = {}
  for (const [name, value] of Object.entries(headers)) {
    const last = Array.isArray(value) ? value.at(-1) : value
    if (last !== undefined) flat[name] = last
  }
  return flat
}
