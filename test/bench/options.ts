/** What the benchmark can be asked. */
import { tmpdir } from 'node:os'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { parseSize } from './loads.ts'
import { VERBS, type Verb } from './rounds.ts'

/** The parts of the benchmark, in the order in which they run. */
export const PARTS = ['upload', 'get', 'folder', 'start', 'memory', 'far'] as const
export type PartName = (typeof PARTS)[number]

/** What can cross the far network. */
export const FAR_LOADS = ['large', 'small', 'folder'] as const
export type FarLoad = (typeof FAR_LOADS)[number]

export interface FarWire {
  /** Network namespace. */
  clients: string
  /** Of the program that is the wire. */
  pid: number
}

/** What `--only` is when it is not given: what takes minutes rather than hours. */
const USUAL: readonly PartName[] = ['upload', 'get', 'folder', 'start']

export const HELP = `npm run bench -- [OPTION]…

  --only PART,…        of ${PARTS.join(', ')} [${USUAL.join(',')}]
  --size SIZE,…        files of upload and get [64MiB,1GiB]
  --folder FILESxSIZE,…  folders [1000x1KiB,10000x4KiB]
  --rounds N           runs of every tool, in turns [5]
  --tools KEY,…        ours-s3, ours-s3-parts (uploads without the re-read), ours-files, aws, rclone,
                       restic, lib-storage, openssl, curl, curl-openssl [all that are installed]
  --program PATH       what is measured, server/main.js or .ts [built into dist first]
  --work-dir DIR       where all files lie [in memory, or for what does not fit there on disk]
  --s3-endpoint URL    a store that runs already, keys in AWS_* [Ceph from its Debian packages]
  --s3-bucket NAME     its bucket [bench]
  --far-size SIZE      what crosses the far network [64MiB]
  --far-verb VERB,…    of upload, get [both]
  --far-load LOAD,…    of large, small (a file of 1 KiB), folder (100 of 4 KiB) [all]
  --far-control NAME   congestion control of both its ends [cubic]
  --memory-size SIZE   the large file of the memory part [10GiB]
  --json PATH          every sample, for machines
  --write-readme PATH,…  put the tables of such files into README.md, and measure nothing
  --self-check         all that needs no store, tiny, to see that it runs

Of their own: npm run bench:scale (ten million records beside ten thousand; with --servers two
servers beside one), bench:seals (seals per second), bench:inspector (its pages, its watchers).
`

export interface Options {
  isHelp: boolean
  only: readonly PartName[]
  sizes: readonly number[]
  folders: readonly { files: number; each: number }[]
  rounds: number
  /** Keys of tools; `undefined`: all. */
  tools: readonly string[] | undefined
  program: string | undefined
  workFolder: string | undefined
  s3: { endpoint: string; bucket: string } | undefined
  farBytes: number
  farVerbs: readonly Verb[]
  farLoads: readonly FarLoad[]
  farControl: string
  memoryBytes: number
  json: string | undefined
  readme: readonly string[]
  isSelfCheck: boolean
  /** The wire, as its clients need it: set by the far part for the process that it starts. */
  farWire: FarWire | undefined
}

const split = (text: string) => text.split(',').filter(Boolean)

/** Throws when a word is not understood. */
export function parseOptions(words: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...words],
    options: {
      help: { type: 'boolean', default: false },
      only: { type: 'string', default: USUAL.join(',') },
      size: { type: 'string', default: '64MiB,1GiB' },
      folder: { type: 'string', default: '1000x1KiB,10000x4KiB' },
      rounds: { type: 'string', default: '5' },
      tools: { type: 'string' },
      program: { type: 'string' },
      'work-dir': { type: 'string' },
      's3-endpoint': { type: 'string' },
      's3-bucket': { type: 'string', default: 'bench' },
      'far-size': { type: 'string', default: '64MiB' },
      'far-verb': { type: 'string', default: 'upload,get' },
      'far-control': { type: 'string', default: 'cubic' },
      'far-load': { type: 'string', default: FAR_LOADS.join(',') },
      'far-clients': { type: 'string' },
      'far-wire': { type: 'string' },
      'memory-size': { type: 'string', default: '10GiB' },
      json: { type: 'string' },
      'write-readme': { type: 'string', default: '' },
      'self-check': { type: 'boolean', default: false },
    },
  })
  const endpoint = values['s3-endpoint']
  return {
    isHelp: values.help,
    only: split(values.only).map(parsePart),
    sizes: split(values.size).map(parseSize),
    folders: split(values.folder).map(parseFolder),
    rounds: Number(values.rounds),
    tools: values.tools === undefined ? undefined : split(values.tools),
    program: values.program === undefined ? undefined : resolve(values.program),
    workFolder: values['work-dir'],
    s3: endpoint === undefined ? undefined : { endpoint, bucket: values['s3-bucket'] },
    farBytes: parseSize(values['far-size']),
    farVerbs: VERBS.filter((verb) => split(values['far-verb']).includes(verb)),
    farControl: values['far-control'],
    memoryBytes: parseSize(values['memory-size']),
    json: values.json,
    readme: split(values['write-readme']),
    isSelfCheck: values['self-check'],
    farLoads: FAR_LOADS.filter((load) => split(values['far-load']).includes(load)),
    farWire: parseWire(values['far-clients'], values['far-wire']),
  }
}

/** The self-check: every part that needs neither a store nor rights, as small as can be. */
export function shrink(options: Options): Options {
  return {
    ...options,
    only: ['upload', 'get', 'folder', 'start', 'memory'],
    sizes: [parseSize('1MiB')],
    folders: [{ files: 10, each: 1024 }],
    rounds: 1,
    tools: ['ours-files', 'openssl'],
    memoryBytes: parseSize('1MiB'),
    workFolder: options.workFolder ?? tmpdir(),
  }
}

function parseWire(clients: string | undefined, pid: string | undefined): FarWire | undefined {
  return clients === undefined || pid === undefined ? undefined : { clients, pid: Number(pid) }
}

function parsePart(text: string): PartName {
  const part = PARTS.find((each) => each === text)
  if (part === undefined) throw new Error(`Cannot measure ${text}: expected ${PARTS.join(', ')}`)
  return part
}

function parseFolder(text: string): { files: number; each: number } {
  const [files = '', each = ''] = text.split('x')
  if (!/^\d+$/.test(files)) throw new Error(`Cannot read a folder: ${text}`)
  return { files: Number(files), each: parseSize(each) }
}
