import type { Event } from '../schemas/event.ts'
import type { CallInput } from './api.ts'
import type { Connection } from './transfer/connection.ts'

/**
 * Events as they happen, without gap or double: when the connection breaks it is made anew after
 * the last event seen. Ends when `signal` fires; throws what cannot be mended by trying again.
 */
export async function* watch(
  _connection: Connection,
  _query: NonNullable<CallInput<'watchEvents'>['query']>,
  _options: { signal?: AbortSignal | undefined } = {},
): AsyncGenerator<Event> {}
