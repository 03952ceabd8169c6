/**
 * The filesystem store: one folder on one machine, and this server as its HTTP door.
 *
 *     <folder>/lock                   held while a server uses the folder
 *     <folder>/incoming/<key>         an unfinished blob, parts at their offsets
 *     <folder>/incoming/<key>.parts   the journal of its parts
 *     <folder>/<key>                  a finished blob, read-only
 *
 * A blob is finished by a rename, so its bytes are never copied and never half there.
 */
import { createHash } from 'node:crypto'
import { access, chmod, constants, open, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { acquireLock } from '../../client/disk/lock.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { Clock } from '../clock.ts'
import { splitBlobKey } from './blob-key.ts'
import { type ContentReply, type ContentRequest, openContent } from './content.ts'
import {
  codeOf,
  makeFolder,
  nameDiskError,
  onDisk,
  removeFile,
  renameSteadily,
  syncFolder,
} from './files.ts'
import { createGranter, type GrantedRequest } from './filesystem-grants.ts'
import { type Incoming, openIncoming } from './incoming.ts'
import { checkPartList, checkPartsHeld, sessionEnded } from './part-list.ts'
import type { Blob, BlobSession, ReadOptions, Store } from './store.ts'

export interface FilesystemStoreOptions {
  /** Made when missing; one server at a time. */
  folder: string
  /** Signs grants, at least 32 bytes. Grants die with it. */
  grantSecret: Uint8Array
  clock: Clock
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
   * Answers a granted GET: status, headers and a body that must be read or returned. Throws
   * `grant_invalid`, `grant_expired`, `blob_missing`, `precondition_failed`.
   */
  openContent(request: ContentRequest): Promise<ContentReply>
}

/** Bytes read at a time. */
const READ_BYTES = 1024 ** 2
/** The largest part that the wire form can name. */
const PART_SIZE_MAX_BYTES = 5 * 1024 ** 3
/** The session needs no memory of its own: the key says everything. */
const SESSION = 'file'

/**
 * Opens the store in a folder. Throws `locked` when another server has it, `store_unavailable` when
 * it cannot be used.
 */
export async function openFilesystemStore(
  options: FilesystemStoreOptions,
): Promise<FilesystemStore> {
  const { folder } = options
  const granter = createGranter(options.grantSecret, options.clock)
  const incomingFolder = join(folder, 'incoming')
  await onDisk(`open store ${folder}`, async () => {
    await makeFolder(incomingFolder)
    await makeFolder(join(folder, 'blobs'))
  })
  const lock = await acquireLock(join(folder, 'lock'))
  const incoming = openIncoming(incomingFolder)
  const blobs = openBlobs(folder)

  const store: FilesystemStore = {
    kind: 'filesystem',
    limits: { partSizeMinBytes: 1, partSizeMaxBytes: PART_SIZE_MAX_BYTES },
    capabilities: {
      refusesWrongBytes: true,
      refusesWrongSignature: true,
      conditionalPut: true,
      conditionalComplete: true,
      keepsSha256: true,
    },

    async begin(plan) {
      await onDisk(`begin ${plan.key}`, () => incoming.begin(plan.key, plan.sizeBytes))
      return SESSION
    },

    async grantPart({ key, partSizeBytes }, part, ttlSeconds) {
      return granter.grantPart({ key, part, offset: (part.number - 1) * partSizeBytes }, ttlSeconds)
    },

    async listParts({ key }) {
      try {
        const held = await onDisk(`list parts of ${key}`, () => incoming.listHeld(key))
        return [...held.values()]
          .map(({ number, sizeBytes }) => ({ number, sizeBytes }))
          .sort((one, other) => one.number - other.number)
      } catch (error) {
        if (error instanceof ArtifactError && error.code === 'upload_ended') return []
        throw error
      }
    },

    complete(session, parts) {
      return onDisk(`complete ${session.key}`, async () => {
        const sizeBytes = checkPartList(session, parts)
        return incoming.exclusively(session.key, () =>
          completeBlob(incoming, blobs, session, parts, sizeBytes),
        )
      })
    },

    discard({ key }) {
      return onDisk(`discard ${key}`, () =>
        incoming.exclusively(key, async () => {
          await incoming.remove(key)
          await removeFile(blobs.pathOf(key))
        }),
      )
    },

    stat: (key) => onDisk(`look at ${key}`, () => blobs.stat(key)),

    read: (key, tag, options) => readBlob(blobs, key, tag, options),

    async grantRead(key, tag, { ttlSeconds, fileName, contentType, bound }) {
      return granter.grantRead({ key, tag, fileName, contentType, bound }, ttlSeconds)
    },

    async check() {
      await onDisk(`use store ${folder}`, () =>
        access(incomingFolder, constants.R_OK | constants.W_OK | constants.X_OK),
      )
    },

    async receivePart({ path, query, sizeBytes, body, signal }) {
      const permission = granter.checkPart({ path, query })
      const { part } = permission
      if (sizeBytes !== undefined && sizeBytes !== part.sizeBytes)
        throw new ArtifactError(
          'size_mismatch',
          `Cannot receive part ${part.number}: it has another size`,
          { expected: `${part.sizeBytes} bytes`, found: `${sizeBytes} bytes` },
        )
      await onDisk(`receive part ${part.number}`, () =>
        incoming.receive(permission, untilAborted(body, signal)),
      )
    },

    openContent: (request) => openContent(store, granter.checkRead(request), request),

    async [Symbol.asyncDispose]() {
      await lock[Symbol.asyncDispose]()
    },
  }
  return store
}

interface Blobs {
  pathOf(key: string): string
  stat(key: string): Promise<Blob | undefined>
}

function openBlobs(folder: string): Blobs {
  const pathOf = (key: string) => join(folder, ...splitBlobKey(key))
  return {
    pathOf,
    async stat(key) {
      try {
        const found = await stat(pathOf(key), { bigint: true })
        return found.isFile()
          ? { sizeBytes: found.size, tag: formatTag(key, found.size) }
          : undefined
      } catch (error) {
        if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return undefined
        throw error
      }
    },
  }
}

/**
 * A strong ETag. A key is bound to one content for ever, so key and size name it; times and inodes
 * would change when the folder is restored from a backup. Whether the bytes are still right is for
 * their digests to say.
 */
function formatTag(key: string, sizeBytes: bigint): string {
  return `"${createHash('sha256').update(key).digest('hex').slice(0, 32)}-${sizeBytes}"`
}

async function completeBlob(
  incoming: Incoming,
  blobs: Blobs,
  session: BlobSession,
  parts: Parameters<Store['complete']>[1],
  sizeBytes: bigint,
): Promise<Blob> {
  const { key } = session
  const target = blobs.pathOf(key)
  const there = await blobs.stat(key)
  if (there !== undefined && there.sizeBytes !== sizeBytes)
    throw new ArtifactError('size_mismatch', `Cannot complete ${key}: it is another size already`, {
      expected: `${sizeBytes} bytes`,
      found: `${there.sizeBytes} bytes`,
    })
  if (there === undefined) {
    checkPartsHeld(key, parts, await incoming.listHeld(key))
    await closeFile(incoming.pathOf(key), sizeBytes)
    await makeFolder(dirname(target))
    await renameSteadily(incoming.pathOf(key), target)
  }
  // A crash after the rename is mended from here on by the next call.
  await chmod(target, 0o444)
  await syncFolder(dirname(target))
  await incoming.remove(key)
  const blob = there ?? (await blobs.stat(key))
  if (blob === undefined) throw sessionEnded(key)
  return blob
}

/** Gives an unfinished file its final size and makes it durable. */
async function closeFile(path: string, sizeBytes: bigint): Promise<void> {
  await using handle = await open(path, 'r+')
  // Longer when parts were sent that the seal does not name, or the plan was larger.
  const { size } = await handle.stat({ bigint: true })
  if (size !== sizeBytes) await handle.truncate(Number(sizeBytes))
  await handle.sync()
}

async function* readBlob(
  blobs: Blobs,
  key: string,
  tag: string,
  { start = 0n, end, signal }: ReadOptions = {},
): AsyncGenerator<Uint8Array> {
  const verb = `read ${key}`
  await using handle = await open(blobs.pathOf(key), 'r').catch((error) => {
    throw codeOf(error) === 'ENOENT' ? missing(key) : nameDiskError(verb, error)
  })
  const { size } = await handle.stat({ bigint: true })
  checkTag(key, tag, formatTag(key, size))
  const stop = Number(end === undefined || end > size ? size : end)
  for (let position = Number(start); position < stop; ) {
    signal?.throwIfAborted()
    // A buffer of its own for every chunk: the reader may keep it.
    const buffer = Buffer.allocUnsafeSlow(Math.min(READ_BYTES, stop - position))
    const { bytesRead } = await onDisk(verb, () => handle.read(buffer, 0, buffer.length, position))
    if (bytesRead === 0)
      throw new ArtifactError(
        'precondition_failed',
        `Cannot ${verb}: it was cut while it was read`,
        {
          expected: `${stop} bytes`,
          found: `${position} bytes`,
        },
      )
    position += bytesRead
    yield buffer.subarray(0, bytesRead)
  }
}

function missing(key: string): ArtifactError {
  return new ArtifactError('blob_missing', `Cannot read ${key}: it is not in the store`)
}

function checkTag(key: string, expected: string, found: string): void {
  if (expected === found) return
  throw new ArtifactError('precondition_failed', `Cannot read ${key}: it is another object`, {
    expected,
    found,
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
