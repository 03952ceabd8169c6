/** The object store below packs of small blobs. */
import type { Blob, BlobPlan } from './store.ts'

/** What packs need of the store that has them. Keys are those of blobs, or of packs. */
export interface Objects {
  /** Puts an object at a new key; durable when it returns. */
  put(key: string, bytes: Uint8Array): Promise<void>
  /** Puts a blob at its own key; one that is there stays, and is the answer. */
  putAlone(plan: Pick<BlobPlan, 'key' | 'contentType'>, bytes: Uint8Array): Promise<Blob>
  /** The same; `undefined` when one may have been there before. */
  putNew(plan: Pick<BlobPlan, 'key' | 'contentType'>, bytes: Uint8Array): Promise<Blob | undefined>
  /** `[start, end)`, or as much of it as there is. Throws `blob_missing`. */
  read(key: string, range: { start: bigint; end: bigint }): AsyncIterable<Uint8Array>
  stat(key: string): Promise<Blob | undefined>
  /** The objects whose keys begin so, page by page. */
  list(beginning: string, signal?: AbortSignal): AsyncIterable<{ key: string; sizeBytes: number }[]>
  /** Does nothing when there is no such object. */
  remove(key: string): Promise<void>
}
