/** The tools that people move such bytes with today, with their defaults. */
import { mkdir, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { compareFiles, compareStream } from './compare.ts'
import { type Command, run } from './measure.ts'
import { PLAIN, plainKey, type Store } from './store.ts'
import { ask, findProgram, type Load, type Tool } from './tools.ts'

/** The peers that are installed, and the names of those that are not. */
export function findPeers(store: Store, folder: string): { tools: Tool[]; absent: string[] } {
  const environment = describeEnvironment(store, folder)
  const found: [name: string, tool: Tool | undefined][] = [
    ['aws', findAws(store, environment)],
    ['rclone', findRclone(store, environment)],
    ['restic', findRestic(store, environment, folder)],
    ['@aws-sdk/lib-storage', findLibStorage(store, environment)],
  ]
  return {
    tools: found.flatMap(([, tool]) => tool ?? []),
    absent: found.flatMap(([name, tool]) => (tool === undefined ? [name] : [])),
  }
}

/** Nothing of whoever runs this: no configuration, no proxy, no certificates for a store without TLS. */
function describeEnvironment({ account }: Store, folder: string): NodeJS.ProcessEnv {
  const { PATH } = process.env
  return {
    PATH,
    HOME: folder,
    XDG_CACHE_HOME: join(folder, 'cache'),
    AWS_ACCESS_KEY_ID: account.accessKeyId,
    AWS_SECRET_ACCESS_KEY: account.secretAccessKey,
    AWS_REGION: account.region,
    AWS_DEFAULT_REGION: account.region,
    AWS_EC2_METADATA_DISABLED: 'true',
  }
}

/** A peer that lays an object, or one per file, under a key, which curl can read back. */
interface ObjectPeer extends Pick<Tool, 'title' | 'key' | 'version'> {
  folders: boolean
  upload: (load: Load, key: string) => Command
  get: (load: Load, key: string, target: string) => Command
}

function describePeer(peer: ObjectPeer, store: Store): Tool {
  const keyOf = ({ slug }: Load) => `${peer.key}/${slug}`
  const canMove = ({ kind }: Load) => kind === 'file' || peer.folders
  return {
    title: peer.title,
    key: peer.key,
    kind: 'peer',
    version: peer.version,
    watched: { store: store.pid },
    upload: (load) => {
      if (!canMove(load)) return undefined
      return {
        command: peer.upload(load, keyOf(load)),
        check: () => checkObject(store, load, keyOf(load)),
        clean: () => store.clear(peer.key),
      }
    },
    get: async (load, target) => {
      if (!canMove(load)) return undefined
      const key = plainKey(load)
      await store.lay(key, () => run(peer.upload(load, key)))
      return {
        command: peer.get(load, key, target),
        check: () => compareFiles(load, target),
        end: () => store.clear(PLAIN),
      }
    },
  }
}

/** Of a folder the first file: that all are there shows when it is got again. */
async function checkObject(store: Store, load: Load, key: string): Promise<void> {
  const [at, file] =
    load.kind === 'file' ? [key, load.path] : [`${key}/0000`, join(load.path, '0000')]
  await compareStream(['curl', '-fsS', store.presign('GET', at)], file)
}

function findAws(store: Store, environment: NodeJS.ProcessEnv): Tool | undefined {
  const aws = findProgram('aws')
  const version = aws === undefined ? undefined : ask([aws, '--version'])?.split(' ')[0]
  if (aws === undefined || version === undefined) return undefined
  const { endpoint, bucket } = store.account
  const copy = ({ kind }: Load, from: string, to: string): Command => ({
    words: [
      ...[aws, '--endpoint-url', endpoint, 's3', 'cp', '--only-show-errors'],
      ...(kind === 'folder' ? ['--recursive'] : []),
      ...[from, to],
    ],
    environment,
  })
  const peer: ObjectPeer = {
    title: 'aws s3 cp',
    key: 'aws',
    version,
    folders: true,
    upload: (load, key) => copy(load, load.path, `s3://${bucket}/${key}`),
    get: (load, key, target) => copy(load, `s3://${bucket}/${key}`, target),
  }
  return describePeer(peer, store)
}

function findRclone(store: Store, inherited: NodeJS.ProcessEnv): Tool | undefined {
  const rclone = findProgram('rclone')
  const version = rclone === undefined ? undefined : ask([rclone, 'version'])
  if (rclone === undefined || version === undefined) return undefined
  const { endpoint, bucket, region } = store.account
  const environment = {
    ...inherited,
    RCLONE_CONFIG_BENCH_TYPE: 's3',
    RCLONE_CONFIG_BENCH_PROVIDER: 'Ceph',
    RCLONE_CONFIG_BENCH_ENV_AUTH: 'true',
    RCLONE_CONFIG_BENCH_ENDPOINT: endpoint,
    RCLONE_CONFIG_BENCH_REGION: region,
  }
  const copy = ({ kind }: Load, from: string, to: string): Command => ({
    words: [rclone, kind === 'file' ? 'copyto' : 'copy', from, to],
    environment,
  })
  const peer: ObjectPeer = {
    title: 'rclone copy',
    key: 'rclone',
    version,
    folders: true,
    upload: (load, key) => copy(load, load.path, `bench:${bucket}/${key}`),
    get: (load, key, target) => copy(load, `bench:${bucket}/${key}`, target),
  }
  return describePeer(peer, store)
}

/** A module of the SDK is absent when only what runs the service is installed. */
function findLibStorage(store: Store, inherited: NodeJS.ProcessEnv): Tool | undefined {
  const { resolve } = createRequire(import.meta.url)
  try {
    resolve('@aws-sdk/lib-storage')
  } catch {
    return undefined
  }
  const program = join(import.meta.dirname, 'lib-storage-peer.mjs')
  const { endpoint, bucket } = store.account
  const environment = { ...inherited, S3_ENDPOINT: endpoint }
  const move = (verb: string, file: string, key: string): Command => ({
    words: [process.execPath, program, verb, file, bucket, key],
    environment,
  })
  const peer: ObjectPeer = {
    title: '@aws-sdk/lib-storage',
    key: 'lib-storage',
    version: `Node ${process.versions.node}`,
    folders: false,
    upload: (load, key) => move('upload', load.path, key),
    get: (_, key, target) => move('get', target, key),
  }
  return describePeer(peer, store)
}

/** Every run has a repository of its own, made beforehand: the second backup of a file is no backup. */
function findRestic(store: Store, inherited: NodeJS.ProcessEnv, folder: string): Tool | undefined {
  const restic = findProgram('restic')
  const version = restic === undefined ? undefined : ask([restic, 'version'])?.split(' compiled')[0]
  if (restic === undefined || version === undefined) return undefined
  const { endpoint, bucket } = store.account
  const environment = {
    ...inherited,
    RESTIC_REPOSITORY: `s3:${endpoint}/${bucket}/restic`,
    RESTIC_PASSWORD: 'bench',
  }
  const command = (...words: string[]): Command => ({
    words: [restic, '-q', ...words],
    environment,
  })
  const make = async () => {
    await rm(join(folder, 'cache'), { recursive: true, force: true })
    await run(command('init'))
  }
  const restored = (load: Load, target: string) => join(target, load.path)
  return {
    title: 'restic backup / restore',
    key: 'restic',
    kind: 'peer',
    version,
    watched: { store: store.pid },
    upload: (load) => ({
      prepare: make,
      command: command('backup', load.path),
      check: async () => {
        if (load.kind === 'file')
          await compareStream(command('dump', 'latest', load.path).words, load.path, environment)
      },
      clean: () => store.clear('restic'),
    }),
    get: async (load, target) => {
      await make()
      await run(command('backup', load.path))
      return {
        prepare: async () => void (await mkdir(target, { recursive: true })),
        command: command('restore', 'latest', '--target', target),
        check: () => compareFiles(load, restored(load, target)),
        end: () => store.clear('restic'),
      }
    },
  }
}
