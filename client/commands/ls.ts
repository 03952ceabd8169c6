/** `artifact ls`: what there is, page by page, however much it is. */
import { z } from 'zod'
import type { Artifact } from '../../schemas/artifact.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { parseReference, type RunSelector } from '../../schemas/reference.ts'
import type { Run, Task } from '../../schemas/run.ts'
import type { Upload } from '../../schemas/upload.ts'
import { call } from '../api.ts'
import { formatBytes, formatMoment, sanitise } from '../terminal-format.ts'
import type { Connection } from '../transfer/connection.ts'
import { type CommandContext, count, defineCommand, flag, optionalPositional } from './command.ts'
import { connectServer } from './connection.ts'
import { type Page, type PageRequest, readPages } from './pages.ts'

export const ls = defineCommand({
  usage: ['ls [OPTION…] [TASK[/RUN[/PREFIX]]]', 'ls --uploads [OPTION…] [TASK]'],
  description:
    'Lists tasks, the runs of a task (the latest first), or the artifacts of a run by name. With --uploads it lists the uploads that are open now. With --json it prints one object that holds all items.',
  options: z.object({
    limit: count('N', 'Stop after so many [all]', { min: 1, max: 1_000_000_000 }),
    uploads: flag('List uploads that are open or being verified'),
  }),
  positionals: z.object({
    where: optionalPositional('TASK[/RUN[/PREFIX]]', 'What to look into [all tasks]'),
  }),
  examples: [
    { line: 'artifact ls', about: 'the tasks' },
    { line: 'artifact ls turtle-db', about: 'the runs of a task' },
    {
      line: 'artifact ls turtle-db/latest/logs/',
      about: 'what lies under logs/ in the latest run',
    },
    { line: 'artifact ls --uploads', about: 'uploads that are not sealed yet, with their ids' },
  ],
  exits: {
    notAllowed: 'the token is missing or not valid',
    notFound: 'there is no such task or run, or it is not yours to see',
    unreachable: 'the server cannot be reached',
  },
  async run({ options, positionals }, context) {
    const where = parsePlace(positionals.where)
    await using connection = await connectServer(context)
    const listing = chooseListing(connection, where, options.uploads, context.signal)
    await printListing(listing, options.limit, context)
  },
})

interface Place {
  task?: string
  run?: RunSelector
  prefix?: string
}

interface Listing {
  /** Key of the list in the JSON object. */
  key: string
  /** Lines that are ready to be printed, and the same as data. */
  fetchPage: (request: PageRequest) => Promise<Page<{ line: string; item: unknown }>>
}

/** Like a reference, but what follows the run is any prefix, such as `logs/`. */
function parsePlace(text: string | undefined): Place {
  if (text === undefined || text === '') return {}
  const [task = '', run, ...rest] = text.split('/')
  const place = parseReference(run === undefined || run === '' ? task : `${task}/${run}`)
  return {
    task: place.task,
    ...(place.run === undefined ? {} : { run: place.run }),
    ...(rest.length === 0 ? {} : { prefix: rest.join('/') }),
  }
}

function chooseListing(
  connection: Connection,
  { task, run, prefix }: Place,
  uploads: boolean,
  signal: AbortSignal,
): Listing {
  const options = { signal }
  if (uploads) {
    if (run !== undefined)
      throw new ArtifactError('usage', 'Cannot list uploads: a task at most can be named')
    const query = task === undefined ? {} : { task }
    return list('uploads', formatUpload, (page) =>
      call(connection, 'listUploads', { query: { ...query, ...page } }, options),
    )
  }
  if (task === undefined)
    return list('tasks', formatTask, (query) => call(connection, 'listTasks', { query }, options))
  if (run === undefined)
    return list('runs', formatRun, ({ limit, after }) => {
      const query = { limit, ...(after === undefined ? {} : { after: Number(after) }) }
      return call(connection, 'listRuns', { params: { task }, query }, options)
    })
  const narrowed = prefix === undefined ? {} : { prefix }
  return list('artifacts', formatArtifact, (page) => {
    const query = { ...narrowed, ...page }
    return call(connection, 'listArtifacts', { params: { task, run }, query }, options)
  })
}

function list<T>(
  key: string,
  format: (item: T) => string,
  fetchPage: (request: PageRequest) => Promise<Page<T>>,
): Listing {
  return {
    key,
    async fetchPage(request) {
      const { items, next } = await fetchPage(request)
      return { items: items.map((item) => ({ line: format(item), item })), next }
    },
  }
}

/** Prints as the pages come, so that a million items need no memory. */
async function printListing(
  { key, fetchPage }: Listing,
  limit: number | undefined,
  { terminal, globals }: CommandContext,
): Promise<void> {
  let printed = 0
  let isCut = false
  let isOpen = false
  for await (const page of readPages(fetchPage, limit)) {
    isCut = page.isCut
    // Only now: where the first page cannot be had, stdout stays empty.
    if (globals.json && !isOpen) await terminal.print(`{"${key}":[`)
    isOpen = true
    if (terminal.isClosed) return
    for (const { line, item } of page.items) {
      if (globals.json) await terminal.printJson(item, printed === 0 ? '' : ',')
      else await terminal.print(line)
      printed++
    }
  }
  if (globals.json) await terminal.print(`],"more":${isCut}}`)
  else if (printed === 0) terminal.say(`No ${key}.`)
  else if (isCut) terminal.say(`Stopped at ${printed}, as --limit says; there are more.`)
}

function formatTask({ task, openedAt }: Task): string {
  return `${formatMoment(openedAt)}  ${task}`
}

function formatRun({ task, run, openedAt }: Run): string {
  return `${formatMoment(openedAt)}  ${task}/${run}`
}

function formatArtifact({ sizeBytes, sealedAt, reference }: Artifact): string {
  const size = formatBytes(BigInt(sizeBytes)).padStart(11)
  return `${size}  ${formatMoment(sealedAt)}  ${sanitise(reference)}`
}

function formatUpload(upload: Upload): string {
  const { progress, sizeBytes, state, id, reference } = upload
  const total = progress.totalBytes ?? sizeBytes
  const done = formatBytes(BigInt(progress.bytes))
  const amount = total === null ? done : `${done} of ${formatBytes(BigInt(total))}`
  return `${id}  ${state.padEnd(9)}  ${amount.padStart(24)}  ${sanitise(reference)}`
}
