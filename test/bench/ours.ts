/** Our own command against our own server, as a user has them: built, with every check on. */
import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { z } from 'zod'
import { makePlace, type Place, startOwnServer } from '../support/own-server.ts'
import { compareFiles, compareStream } from './compare.ts'
import { type Command, run } from './measure.ts'
import type { Store } from './store.ts'
import type { Load, Tool } from './tools.ts'

const Profile = z.object({ url: z.url(), token: z.string() })

export interface OursOptions {
  /** Path of the program. */
  program: string
  version: string
  /** Where the server keeps its data and the client its state. */
  folder: string
  /** Without one: the embedded default, bytes in a folder. */
  store?: Store | undefined
  flags?: readonly string[]
}

/** A server of ours and the client beside it. */
export interface Ours extends AsyncDisposable {
  /** As a user has it. */
  readonly tool: Tool
  /** The same server with other settings of the client. */
  readonly variants: readonly Tool[]
  readonly place: Place
  readonly pid: number
  /** A command of the client. */
  command(...words: string[]): Command
  /** Removes all bytes that its store has, past the server. */
  clear(): Promise<void>
}

/** Starts a server, and the tool that talks to it. */
export async function startOurs(options: OursOptions): Promise<Ours> {
  const { program, version, folder, store, flags = [] } = options
  await using stack = new AsyncDisposableStack()
  const place = stack.use(await makePlace(program, folder))
  const prefix = basename(place.folder)
  const account = store?.account
  if (account !== undefined) {
    place.environment.AWS_ACCESS_KEY_ID = account.accessKeyId
    place.environment.AWS_SECRET_ACCESS_KEY = account.secretAccessKey
  }
  const where =
    account === undefined
      ? []
      : ['--store', `s3://${account.bucket}/${prefix}`, '--s3-endpoint', account.endpoint]
  const server = stack.use(await startOwnServer(place, undefined, [...where, ...flags]))
  const command = (...words: string[]): Command => ({
    words: [process.execPath, program, ...words],
    environment: place.environment,
    folder: place.folder,
  })
  const clear = async () => {
    if (store === undefined) await removeBlobs(place.dataFolder)
    else await store.clear(prefix)
  }
  const upload = (load: Load, ...words: string[]) => ({
    command: command('upload', '--quiet', ...words, load.path, 'bench'),
    check: (stdout: string) => checkUploaded(place, load, stdout),
    clean: clear,
  })
  const tool: Tool = {
    title: store === undefined ? 'artifact, embedded default' : 'artifact, S3',
    key: store === undefined ? 'ours-files' : 'ours-s3',
    kind: 'ours',
    version,
    watched: { server: server.pid, store: store?.pid },
    upload: (load) => upload(load),
    async get(load, target) {
      const stdout = await run(command('upload', '--quiet', load.path, 'bench'))
      const reference = firstReference(stdout)
      const wanted = load.kind === 'file' ? reference : reference.split('/').slice(0, 2).join('/')
      return {
        command: command('get', '--quiet', wanted, '-o', target),
        check: () => compareFiles(load, target),
        end: clear,
      }
    },
  }
  // The peers read nothing back: this is what ours costs without it, every part checked all the same.
  const unread: Tool = {
    title: 'artifact, S3, --policy parts',
    key: 'ours-s3-parts',
    kind: 'ours',
    version,
    watched: tool.watched,
    upload: (load) => upload(load, '--policy', 'parts'),
  }
  const held = stack.move()
  return {
    tool,
    variants: store === undefined ? [] : [unread],
    place,
    pid: server.pid,
    command,
    clear,
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  }
}

/** The command prints one reference for each file. */
function firstReference(stdout: string): string {
  const [reference = ''] = stdout.trim().split('\n')
  return reference
}

/** Address and token as the server left them for the commands of its machine. */
export async function readProfile({ folder }: Place): Promise<z.infer<typeof Profile>> {
  const profile = join(folder, 'config', 'artifact', 'profile.json')
  return Profile.parse(JSON.parse(await readFile(profile, 'utf8')))
}

/** By curl, past our own client. */
async function checkUploaded(place: Place, load: Load, stdout: string): Promise<void> {
  const { url, token } = await readProfile(place)
  const header = join(place.folder, 'authorization')
  await writeFile(header, `Authorization: Bearer ${token}\n`, { mode: 0o600 })
  const [task = '', taskRun = ''] = firstReference(stdout).split('/')
  const at = `${url}/v1/tasks/${task}/runs/${taskRun}`
  const names =
    load.kind === 'file' ? [basename(load.path)] : (await readdir(load.path)).slice(0, 3)
  for (const name of names) {
    const file = load.kind === 'file' ? load.path : join(load.path, name)
    await compareStream(['curl', '-fsSL', '-H', `@${header}`, `${at}/content/${name}`], file)
  }
}

/** An operator's hand: records stay, bytes go, so that one run leaves room for the next. */
async function removeBlobs(dataFolder: string): Promise<void> {
  for (const entry of await readdir(dataFolder, { recursive: true, withFileTypes: true }))
    if (entry.isFile() && entry.parentPath.includes('/blobs'))
      await rm(join(entry.parentPath, entry.name))
}
