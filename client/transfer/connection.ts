export interface ConnectOptions {
  /** Address of the server, `http:` or `https:`, with or without a path; no user and password in it. */
  url: string
  /** Bearer token. It is sent to the origin of `url` and nowhere else. */
  token?: string | undefined
  /** Sent as `User-Agent`. */
  userAgent?: string | undefined
  /** Ends every call of this connection. */
  signal?: AbortSignal | undefined
  /** Proxies by scheme; absent: none is used. */
  proxy?: ProxyOptions | undefined
  timing?: Partial<Timing> | undefined
}

export interface ProxyOptions {
  /** For `http:` addresses. */
  http?: string | undefined
  /** For `https:` addresses. */
  https?: string | undefined
  /** Hosts that are reached directly, as in `NO_PROXY`. */
  none?: string | undefined
}

/** Patience, all in milliseconds. */
export interface Timing {
  /** For a connection to be made [10 s]. */
  connectMs: number
  /** For a reply to begin, once the request is sent [120 s]. */
  replyMs: number
  /** Without a single byte moving, before a request is given up and tried again [30 s]. */
  stallMs: number
  /** Bound of the random delay before the first retry; it doubles with every further one [0.5 s]. */
  retryFirstMs: number
  /** Largest bound of that delay [30 s]. */
  retryMaxMs: number
  /** A transfer gives up when nothing has moved for so long [15 min]. */
  noProgressMs: number
}

/** A server, as a client talks to it. Dispose of it to close its sockets. */
export interface Connection extends AsyncDisposable {
  /** Address of the server, without a slash at the end. */
  readonly url: string
  readonly timing: Timing
}

/** Makes a connection; nothing is sent yet. Throws `configuration` when the address is not usable. */
export function connect(options: ConnectOptions): Connection {
  throw new Error(`unfinished ${options.url}`)
}
