/** The filesystem store as a subject of the contract. */
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type FilesystemStore, openFilesystemStore } from '../../server/stores/filesystem.ts'
import type { Subject } from '../contract/subject.ts'
import { openBlobDoor } from '../support/blob-door.ts'

/** Of every store here, so that grants outlive a restart. */
export const SECRET = randomBytes(32)

/** A store, its door and its folder. */
export interface FilesystemSubject extends Subject {
  store: FilesystemStore
  folder: string
}

/** Opens a store in a new folder, which it removes at the end, or in one that is kept. */
export async function openFilesystemSubject(kept?: string): Promise<FilesystemSubject> {
  await using opened = new AsyncDisposableStack()
  const folder = kept ?? (await mkdtemp(join(tmpdir(), 'artifact-store-')))
  if (kept === undefined) opened.defer(() => rm(folder, { recursive: true, force: true }))
  let shiftMs = 0
  const store = opened.use(
    await openFilesystemStore({
      folder,
      grantSecret: SECRET,
      clock: () => new Date(Date.now() + shiftMs),
      threads: { fromBytes: 0n, stretchMs: 0 },
    }),
  )
  const { origin } = opened.use(await openBlobDoor(store))
  const owned = opened.move()
  return {
    store,
    folder,
    origin,
    partSizeBytes: 100_000,
    shiftClock: (seconds) => {
      shiftMs = seconds * 1000
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

/** Where the unfinished bytes of a key are. */
export const incomingOf = ({ folder }: FilesystemSubject, key: string) =>
  join(folder, 'incoming', key)
