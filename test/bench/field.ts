/** Everybody who takes part, at work in one folder over one store. */
import { mkdtempSync, rmSync, statfsSync } from 'node:fs'
import { chmod } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findFloors } from './floors.ts'
import type { Options } from './options.ts'
import { type Ours, startOurs } from './ours.ts'
import { findPeers } from './peers.ts'
import { cleanWhenStopped } from './stopping.ts'
import { type Store, startStore, useStore } from './store.ts'
import { ask, type Tool } from './tools.ts'

const GIB = 1024 ** 3
/** What files and a store in memory may take together, in bytes. */
const MEMORY_BYTES_MAX = 16 * GIB
/** So many times a load lies somewhere at once; a store in memory needs about twice what it holds. */
const COPIES_IN_MEMORY = 10
const COPIES_ON_DISK = 6
const MEMORY_FOLDER = '/dev/shm'

/** Everybody, ready to be measured. */
export interface Field extends AsyncDisposable {
  /** Files to move, and all that servers and clients keep. */
  readonly folder: string
  /** Those that were asked for, ours first. */
  readonly tools: readonly Tool[]
  readonly ours: readonly Ours[]
  /** For people: files, store and tools. */
  readonly about: string
}

export interface FieldOptions {
  options: Options
  /** Path of what is measured. */
  program: string
  /** Largest load that will be moved. */
  bytes: number
  /** Address for servers and store to listen on [127.0.0.1]. */
  host?: string
}

/** Why there is no room for a load of so many bytes here; `undefined` when there is. */
export function findRoomObstacle(bytes: number, options: Options): string | undefined {
  const { parent, isOnDisk } = choosePlace(bytes, options.workFolder)
  const needed = bytes * (isOnDisk ? COPIES_ON_DISK : COPIES_IN_MEMORY)
  const free = readFree(parent)
  const format = (amount: number) => `${(amount / GIB).toFixed(1)} GiB`
  return free < needed
    ? `${parent} has ${format(free)} free, ${format(needed)} are needed`
    : undefined
}

/** Starts store and servers and finds the peers. Disposing of it leaves nothing behind. */
export async function openField({ options, program, bytes, host }: FieldOptions): Promise<Field> {
  const { parent, isOnDisk } = choosePlace(bytes, options.workFolder)
  await using stack = new AsyncDisposableStack()
  const folder = stack.adopt(mkdtempSync(join(parent, 'artifact-bench-')), remove)
  stack.defer(cleanWhenStopped(() => remove(folder)))
  // The embedded Postgres runs as another user when this runs as root, and must reach its folder.
  await chmod(folder, 0o711)
  const isWanted = (key: string) => options.tools?.includes(key) ?? true
  const needsStore = (key: string) => !['ours-files', 'openssl'].includes(key)
  let store: Store | undefined
  if (options.tools?.some(needsStore) ?? true) {
    const gib = isOnDisk ? Math.ceil((bytes / GIB) * 3.5) : 10
    const place = { ...(isOnDisk ? { disk: folder } : {}), ...(host === undefined ? {} : { host }) }
    store = stack.use(
      options.s3 === undefined ? await startStore({ gib, ...place }) : useStore(options.s3),
    )
  }
  const flags = host === undefined ? [] : ['--host', host]
  const version = ask([process.execPath, program, '--version']) ?? ''
  const ours: Ours[] = []
  if (store !== undefined && ['ours-s3', 'ours-s3-parts'].some(isWanted))
    ours.push(stack.use(await startOurs({ program, version, folder, store, flags })))
  if (isWanted('ours-files'))
    ours.push(stack.use(await startOurs({ program, version, folder, flags })))
  const own = ours.flatMap(({ tool, variants }) => [tool, ...variants])
  const floors = findFloors(store)
  const peers = store === undefined ? { tools: [], absent: [] } : findPeers(store, folder)
  const others = [...peers.tools, ...floors.tools].filter(({ key }) => isWanted(key))
  const held = stack.move()
  return {
    folder,
    ours,
    tools: [...own.filter(({ key }) => isWanted(key)), ...others],
    about: describeField(folder, store, others, [...peers.absent, ...floors.absent]),
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  }
}

function describeField(
  folder: string,
  store: Store | undefined,
  others: readonly Tool[],
  absent: readonly string[],
): string {
  const versions = new Set(others.map(({ version }) => version).filter(Boolean))
  return [
    `Files on ${ask(['stat', '-f', '-c', '%T', folder])}`,
    ...(store === undefined ? [] : [`store ${store.title}`]),
    ...versions,
    ...(absent.length === 0 ? [] : [`not installed and left out: ${absent.join(', ')}`]),
  ].join(' · ')
}

function choosePlace(bytes: number, workFolder: string | undefined) {
  const isOnDisk = bytes * COPIES_IN_MEMORY > Math.min(readFree(MEMORY_FOLDER), MEMORY_BYTES_MAX)
  return { parent: workFolder ?? (isOnDisk ? tmpdir() : MEMORY_FOLDER), isOnDisk }
}

function readFree(folder: string): number {
  const { bavail, bsize } = statfsSync(folder)
  return bavail * bsize
}

function remove(folder: string): void {
  rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 })
}
