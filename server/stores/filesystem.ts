/**
 * The filesystem store: one folder on one machine, and this server as its HTTP door.
 *
 *     <folder>/lock                   held while a server uses the folder
 *     <folder>/incoming/<key>         an unfinished blob, parts at their offsets
 *     <folder>/incoming/<key>.parts   the journal of its parts
 *     <folder>/packs/<number>.pack    small blobs until their own files are on the disk
 *     <folder>/<key>                  a finished blob, read-only
 *
 * A blob of parts is finished by a rename, so its bytes are never copied and never half there.
 */
import { access, constants } from 'node:fs/promises'
import { join } from 'node:path'
import { acquireLock } from '../../client/disk/lock.ts'
import type { Part } from '../../schemas/artifact.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { Clock } from '../clock.ts'
import { type ContentReply, type ContentRequest, openContent } from './content.ts'
import type { FileToHash } from './file-hash-thread.ts'
import { makeFolder, onDisk, removeFile } from './files.ts'
import {
  digestBlob,
  moveToBlobs,
  pathOfBlob,
  readBlob,
  settleBlob,
  statBlob,
  writeBlob,
} from './filesystem-blobs.ts'
import { createGranter, type GrantedRequest, type Granter } from './filesystem-grants.ts'
import { createHashThreads, type HashThreadSettings, type HashThreads } from './hash-threads.ts'
import {
  beginIncoming,
  type Incoming,
  listIncoming,
  openIncoming,
  pathOfIncoming,
  receiveIncoming,
  removeIncoming,
  removeJournal,
  withoutWriters,
} from './incoming.ts'
import { openPacks, type Packs } from './packs.ts'
import { checkPartList, checkPartsHeld } from './part-list.ts'
import { wrongSize } from './part-receiver.ts'
import { createPieceBuffers } from './piece-buffers.ts'
import type { Blob, BlobSession, HeldPart, Store } from './store.ts'

export interface FilesystemStoreOptions {
  /** Made when missing; one server at a time. */
  folder: string
  /** Signs grants, at least 32 bytes. Grants die with it. */
  grantSecret: Uint8Array
  clock: Clock
  /** When and how large blobs are hashed by threads of their own. */
  threads?: Partial<HashThreadSettings> | undefined
}

/** A PUT of part bytes as it comes through the HTTP door. */
export interface PartRequest extends GrantedRequest {
  /** `Content-Length`, when the request has one. */
  sizeBytes: number | undefined
  body: AsyncIterable<Uint8Array>
  signal?: AbortSignal
}

export interface FilesystemStore extends Store {
  readonly kind: 'filesystem'
  /**
   * Takes the bytes of one granted part; durable when it returns. Throws `grant_invalid`,
   * `grant_expired`, `size_mismatch`, `part_mismatch`, `part_busy`, `part_conflict`,
   * `upload_ended`, `invalid_request`, `storage_full`, `store_unavailable`.
   */
  receivePart(request: PartRequest): Promise<void>
  /**
   * Answers a granted GET. Throws `grant_invalid`, `grant_expired`, `blob_missing`,
   * `precondition_failed`.
   */
  openContent(request: ContentRequest): Promise<ContentReply>
}

const LIMITS = { partSizeMinBytes: 1, partSizeMaxBytes: 5 * 1024 ** 3 }
const CAPABILITIES = {
  refusesWrongBytes: true,
  refusesWrongSignature: true,
  conditionalPut: true,
  conditionalComplete: true,
  keepsSha256: true,
}
/** Nothing need be remembered: the key says everything. */
const SESSION = 'file'

/**
 * Opens the store in a folder. Throws `locked` when another server has it, `store_unavailable` when
 * it cannot be used, `configuration` when the secret is too short.
 */
export async function openFilesystemStore(
  options: FilesystemStoreOptions,
): Promise<FilesystemStore> {
  const { folder, grantSecret, clock } = options
  const granter = createGranter(grantSecret, clock)
  const incoming = openIncoming(join(folder, 'incoming'), createPieceBuffers())
  await onDisk(`open store ${folder}`, async () => {
    await makeFolder(incoming.folder)
    await makeFolder(join(folder, 'blobs'))
  })
  await using stack = new AsyncDisposableStack()
  stack.use(await acquireLock(join(folder, 'lock')))
  const packs = stack.use(await onDisk(`open store ${folder}`, () => openPacks(folder)))
  const threads = stack.use(
    createHashThreads<FileToHash>({ name: 'file-hash-thread' }, options.threads),
  )
  const store = createStore(folder, { incoming, packs, threads }, granter)
  const held = stack.move()
  return { ...store, [Symbol.asyncDispose]: () => held.disposeAsync() }
}

/** What a store holds open. */
interface Holdings {
  incoming: Incoming
  packs: Packs
  threads: HashThreads<FileToHash>
}

function createStore(
  folder: string,
  { incoming, packs, threads }: Holdings,
  granter: Granter,
): Omit<FilesystemStore, typeof Symbol.asyncDispose> {
  const read: Store['read'] = (key, tag, options) =>
    readBlob(folder, key, tag, incoming.buffers, options)
  const stat = (key: string) => onDisk(`look at ${key}`, () => statBlob(folder, key))
  return {
    kind: 'filesystem',
    limits: LIMITS,
    capabilities: CAPABILITIES,

    async begin({ key, sizeBytes }) {
      await onDisk(`begin ${key}`, () => beginIncoming(incoming, key, sizeBytes))
      return SESSION
    },

    async grantPart({ key, partSizeBytes }, part, ttlSeconds) {
      return granter.grantPart({ key, part, offset: (part.number - 1) * partSizeBytes }, ttlSeconds)
    },

    listParts: ({ key }) => onDisk(`list parts of ${key}`, () => listParts(incoming, key)),

    complete: (session, parts) =>
      onDisk(`complete ${session.key}`, () => complete(folder, incoming, session, parts)),

    put: ({ key }, bytes) =>
      onDisk(`put ${key}`, () =>
        withoutWriters(incoming, key, () =>
          packs.keep(key, bytes, () => writeBlob(folder, key, bytes)),
        ),
      ),

    discard: ({ key }) =>
      onDisk(`discard ${key}`, () =>
        withoutWriters(incoming, key, async () => {
          await packs.forget(key)
          await removeIncoming(incoming, key)
          await removeFile(pathOfBlob(folder, key))
        }),
      ),

    stat,
    read,

    async digest(key, tag, { expectedBytes, ...listener }) {
      if (!threads.takes(expectedBytes)) return undefined
      return digestBlob(folder, key, tag, threads, listener)
    },

    async grantRead(key, tag, { ttlSeconds, fileName, contentType, bound }) {
      return granter.grantRead({ key, tag, fileName, contentType, bound }, ttlSeconds)
    },

    handsOver: () => true,

    // Packs are looked after by themselves, and nothing else is shared.
    tidy: (onFault) => packs.mend(onFault),

    check: () =>
      onDisk(`use store ${folder}`, () =>
        access(incoming.folder, constants.R_OK | constants.W_OK | constants.X_OK),
      ),

    async receivePart({ path, query, sizeBytes, body, signal }) {
      const permission = granter.checkPart({ path, query })
      const { part } = permission
      if (sizeBytes !== undefined && sizeBytes !== part.sizeBytes)
        throw wrongSize(part, `${sizeBytes} bytes`)
      await onDisk(`receive part ${part.number}`, () =>
        receiveIncoming(incoming, permission, untilAborted(body, signal)),
      )
    },

    openContent: async (request) =>
      openContent({ stat, read }, granter.checkRead(request), request),
  }
}

async function listParts(incoming: Incoming, key: string): Promise<HeldPart[]> {
  try {
    return [...(await listIncoming(incoming, key)).values()]
      .map(({ number, sizeBytes }) => ({ number, sizeBytes }))
      .sort((one, other) => one.number - other.number)
  } catch (error) {
    if (error instanceof ArtifactError && error.code === 'upload_ended') return []
    throw error
  }
}

async function complete(
  folder: string,
  incoming: Incoming,
  session: BlobSession,
  parts: readonly Part[],
): Promise<Blob> {
  const { key } = session
  const sizeBytes = checkPartList(session, parts)
  return withoutWriters(incoming, key, async () => {
    const before = await statBlob(folder, key)
    if (before !== undefined && before.sizeBytes !== sizeBytes)
      throw otherSize(key, sizeBytes, before.sizeBytes)
    if (before === undefined) checkPartsHeld(key, parts, await listIncoming(incoming, key))
    const blob =
      before ?? (await moveToBlobs(folder, key, pathOfIncoming(incoming, key), sizeBytes))
    await settleBlob(folder, key)
    await (before === undefined ? removeJournal : removeIncoming)(incoming, key)
    return blob
  })
}

function otherSize(key: string, expected: bigint, found: bigint): ArtifactError {
  return new ArtifactError('size_mismatch', `Cannot complete ${key}: it has another size`, {
    expected: `${expected} bytes`,
    found: `${found} bytes`,
  })
}

async function* untilAborted(
  body: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of body) {
    signal?.throwIfAborted()
    yield chunk
  }
}
