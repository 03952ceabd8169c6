/** What the same bytes cost at least: a hash of the file, and transfers that nobody checks. */
import { compareFiles, compareStream } from './compare.ts'
import { type Command, run } from './measure.ts'
import { PLAIN, plainKey, type Store } from './store.ts'
import { ask, findProgram, type Load, type Tool } from './tools.ts'

/** S3 takes no more in one request (AWS, "Amazon S3 multipart upload limits"). */
const SINGLE_PUT_BYTES_MAX = 5 * 1024 ** 3

/** The floors that this machine has the programs for, and the names of those that it has not. */
export function findFloors(store: Store | undefined): { tools: Tool[]; absent: string[] } {
  const openssl = findProgram('openssl')
  const curl = findProgram('curl')
  const absent = Object.entries({ openssl, curl }).flatMap(([name, path]) =>
    path === undefined ? [name] : [],
  )
  const tools: Tool[] = []
  if (openssl !== undefined) tools.push(hashFloor(openssl))
  if (curl !== undefined && store !== undefined) {
    tools.push(streamFloor(curl, store))
    if (openssl !== undefined) tools.push(pipeFloor(curl, openssl, store))
  }
  return { tools, absent }
}

function hashFloor(openssl: string): Tool {
  return {
    title: 'openssl dgst -sha256 of the file',
    key: 'openssl',
    kind: 'floor',
    version: ask([openssl, 'version']) ?? '',
    watched: {},
    upload: ({ kind, path }) =>
      kind === 'file' ? readOnly({ words: [openssl, 'dgst', '-sha256', path] }) : undefined,
  }
}

function streamFloor(curl: string, store: Store): Tool {
  return {
    title: 'curl, one stream, unchecked',
    key: 'curl',
    kind: 'floor',
    version: ask([curl, '--version'])?.split(' (')[0] ?? '',
    watched: { store: store.pid },
    upload: (load) => {
      if (!fitsOnePut(load)) return undefined
      return {
        command: put(curl, store, load, keyOf(load)),
        check: () => compareStream([curl, '-fsS', store.presign('GET', keyOf(load))], load.path),
        clean: () => store.clear('curl'),
      }
    },
    get: async (load, target) => {
      if (!fitsOnePut(load)) return undefined
      const key = plainKey(load)
      await store.lay(key, () => run(put(curl, store, load, key)))
      return {
        command: { words: [curl, '-fsS', store.presign('GET', key), '-o', target] },
        check: () => compareFiles(load, target),
        end: () => store.clear(PLAIN),
      }
    },
  }
}

function pipeFloor(curl: string, openssl: string, store: Store): Tool {
  return {
    title: 'curl into openssl dgst, no file',
    key: 'curl-openssl',
    kind: 'floor',
    version: '',
    watched: { store: store.pid },
    get: async (load) => {
      if (!fitsOnePut(load)) return undefined
      const key = plainKey(load)
      await store.lay(key, () => run(put(curl, store, load, key)))
      const script = 'set -o pipefail; "$1" -fsS "$2" | "$3" dgst -sha256'
      const url = store.presign('GET', key)
      const command = { words: ['bash', '-c', script, 'bash', curl, url, openssl] }
      return { ...readOnly(command), end: () => store.clear(PLAIN) }
    },
  }
}

const keyOf = ({ slug }: Load) => `curl/${slug}`

const fitsOnePut = ({ kind, bytes }: Load) => kind === 'file' && bytes <= SINGLE_PUT_BYTES_MAX

function put(curl: string, store: Store, load: Load, key: string): Command {
  return { words: [curl, '-fsS', '-T', load.path, store.presign('PUT', key)] }
}

function readOnly(command: Command) {
  return { command, check: async () => undefined }
}
