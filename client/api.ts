import type { z } from 'zod'
import type { Endpoint, Endpoints } from '../schemas/api.ts'
import type { Connection } from './transfer/connection.ts'

type InputOf<E extends Endpoint> = (E extends { params: infer P extends z.ZodType }
  ? { params: z.input<P> }
  : object) &
  (E extends { query: infer Q extends z.ZodType } ? { query?: z.input<Q> } : object) &
  (E extends { body: infer B extends z.ZodType } ? { body: z.input<B> } : object)

/** Endpoints that answer in JSON. */
export type EndpointName = keyof Endpoints

/** What an endpoint takes: `params`, `query` and `body`, as far as it has them. */
export type CallInput<N extends EndpointName> = InputOf<Endpoints[N]>

/** What an endpoint answers, whichever success status it came with. */
export type CallReply<N extends EndpointName> = z.output<
  Endpoints[N]['replies'][keyof Endpoints[N]['replies']]
>

export interface CallOptions {
  signal?: AbortSignal | undefined
  /** Times the request is sent at most [5]. */
  tries?: number | undefined
}

/**
 * Calls an endpoint by its name in the table. Retries what may succeed later (`retryable` problems,
 * trouble of the network), after a random delay or as `Retry-After` says.
 *
 * Throws the server's problem as the `ArtifactError` it is, `unreachable` when no answer came,
 * `bad_reply` when the answer is not what the endpoint promises, `interrupted` when `signal` fired.
 */
export async function call<N extends EndpointName>(
  _connection: Connection,
  name: N,
  _input: CallInput<N>,
  _options: CallOptions = {},
): Promise<CallReply<N>> {
  throw new Error(`unfinished ${name}`)
}

/** The checksums of a run, as they come: a file for `sha256sum -c`. Errors as for {@link call}. */
export async function* readChecksums(
  _connection: Connection,
  _params: CallInput<'getChecksums'>['params'],
  _options: CallOptions = {},
): AsyncGenerator<Uint8Array> {}
