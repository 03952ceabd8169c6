/** `artifact watch`: uploads, live. */
import { z } from 'zod'
import type { Event } from '../../schemas/event.ts'
import { parseProblem } from '../../schemas/problem-document.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { parseReference } from '../../schemas/reference.ts'
import type { Upload } from '../../schemas/upload.ts'
import { call } from '../api.ts'
import type { ProgressState } from '../progress-line.ts'
import { formatBytes, formatMoment, sanitise } from '../terminal-format.ts'
import { type ProgressView, showProgress } from '../terminal-progress.ts'
import type { Connection } from '../transfer/connection.ts'
import { watch as watchEvents } from '../watch.ts'
import { type CommandContext, defineCommand, optionalPositional } from './command.ts'
import { connectServer } from './connection.ts'
import { findOpenUploads } from './open-uploads.ts'
import { isUuid } from './target.ts'

/** How often the state of a watched upload is asked for, beside its events: an end is never missed. */
const ASK_EVERY_MS = 5_000

export const watch = defineCommand({
  usage: ['watch [OPTION…] [UPLOAD-ID | TASK[/RUN[/NAME]]]'],
  description:
    'Shows uploads as they run: how far, how fast, and how they end. An upload id, or a reference with a name, is watched until that upload ends, and its outcome decides the exit code. Anything wider is watched until Ctrl-C. With --json it prints one event per line.',
  options: z.object({}),
  positionals: z.object({
    what: optionalPositional('UPLOAD', 'Id of an upload, or a reference [everything]'),
  }),
  examples: [
    { line: 'artifact watch turtle-db/7/db.dump', about: 'one upload, until it is sealed' },
    { line: 'artifact watch --json turtle-db/7/db.dump', about: 'the same for a program' },
  ],
  exits: {
    integrity: 'the upload failed, its bytes are not what was claimed',
    notAllowed: 'the token is missing or not valid',
    notFound: 'there is no such upload, or it is not yours to see',
    conflict: 'the upload was aborted, or has expired',
    unreachable: 'the server cannot be reached',
  },
  async run({ positionals }, context) {
    const target = parseTarget(positionals.what)
    await using connection = await connectServer(context)
    const subject = await findSubject(connection, target, context)
    if (subject.kind === 'sealed') return
    const last = await showEvents(connection, subject, context)
    if (last !== undefined) judge(last)
  },
})

interface Target {
  id?: string
  task?: string
  run?: number
  name?: string
}

/** What is watched: one upload to its end, or everything that fits. */
type Subject =
  | { kind: 'upload'; id: string }
  | { kind: 'many'; task?: string; run?: number }
  | { kind: 'sealed' }

function parseTarget(text: string | undefined): Target {
  if (text === undefined) return {}
  if (isUuid(text)) return { id: text.toLowerCase() }
  const { task, run, name } = parseReference(text)
  if (run === 'latest')
    throw new ArtifactError('usage', 'Cannot watch the run latest: it names what is sealed', {
      expected: 'a number, or the task alone',
    })
  return {
    task,
    ...(run === undefined ? {} : { run }),
    ...(name === undefined ? {} : { name }),
  }
}

async function findSubject(
  connection: Connection,
  { id, task, run, name }: Target,
  context: CommandContext,
): Promise<Subject> {
  const { signal } = context
  if (id !== undefined) return { kind: 'upload', id }
  if (task === undefined) return { kind: 'many' }
  if (run === undefined) return { kind: 'many', task }
  if (name === undefined) return { kind: 'many', task, run }
  const [latest] = await findOpenUploads(connection, { task, run, name }, signal)
  if (latest !== undefined) return { kind: 'upload', id: latest.id }
  // Nothing is on its way; what is sealed already needs no watching.
  const artifact = await call(
    connection,
    'getArtifact',
    { params: { task, run, name } },
    { signal },
  )
  if (context.globals.json) await context.terminal.printJson(artifact)
  else
    await context.terminal.print(
      `${formatMoment(artifact.sealedAt)}  sealed     ${sanitise(artifact.reference)}`,
    )
  return { kind: 'sealed' }
}

/** Shows events until the watched upload has ended, and returns its last state. */
async function showEvents(
  connection: Connection,
  subject: Subject & { kind: 'upload' | 'many' },
  context: CommandContext,
): Promise<Upload | undefined> {
  const finished = new AbortController()
  const signal = AbortSignal.any([context.signal, finished.signal])
  using view = await showProgress(context)
  const printer = createPrinter(context, view)
  let last: Upload | undefined
  const show = async (upload: Upload, event?: Event) => {
    if (last !== undefined) return
    if (subject.kind === 'upload' && isEnded(upload)) last = upload
    await printer(upload, event)
    if (last !== undefined || context.terminal.isClosed) finished.abort()
  }
  const query = subject.kind === 'upload' ? { upload: subject.id } : pickQuery(subject)
  const follow = async () => {
    for await (const event of watchEvents(connection, query, { signal }))
      await show(event.upload, event)
  }
  const ask = async ({ id }: { id: string }) => {
    while (!signal.aborted) {
      const { upload } = await call(connection, 'getUpload', { params: { id } }, { signal })
      await show(upload)
      await pause(ASK_EVERY_MS, signal)
    }
  }
  const jobs = [follow(), ...(subject.kind === 'upload' ? [ask(subject)] : [])]
  try {
    await Promise.all(jobs)
  } catch (error) {
    if (last === undefined && !context.terminal.isClosed) throw error
  } finally {
    finished.abort()
    await Promise.allSettled(jobs)
  }
  context.signal.throwIfAborted()
  return last
}

function pickQuery({ task, run }: { task?: string; run?: number }) {
  return { ...(task === undefined ? {} : { task }), ...(run === undefined ? {} : { run }) }
}

/** Resolves after a time, or when the signal fires. */
function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve()
    const end = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', end)
      resolve()
    }
    const timer = setTimeout(end, milliseconds)
    signal.addEventListener('abort', end)
  })
}

/** A line for every change of state, progress in between; with `--json` every event as it came. */
function createPrinter({ terminal, globals, clock }: CommandContext, view: ProgressView) {
  const states = new Map<string, Upload['state']>()
  return async (upload: Upload, event?: Event): Promise<void> => {
    const changed = states.get(upload.id) !== upload.state
    states.set(upload.id, upload.state)
    if (globals.json) {
      if (event !== undefined) await terminal.printJson(event)
      else if (changed)
        await terminal.printJson({ kind: 'upload', at: clock().toISOString(), upload })
    }
    if (!isEnded(upload)) view.update(upload.id, describeProgress(upload))
    else view.end(upload.id)
    if (isEnded(upload)) states.delete(upload.id)
    if (!changed || globals.json) return
    const line = formatChange(upload, event?.at ?? clock().toISOString())
    // On a terminal that shows bars too, the line goes above them.
    if (terminal.interactive && terminal.speak !== undefined) terminal.speak(line)
    else await terminal.print(line)
  }
}

function isEnded({ state }: Upload): boolean {
  return state !== 'open' && state !== 'verifying'
}

function describeProgress(upload: Upload): ProgressState {
  const { progress, reference, sizeBytes } = upload
  const total = progress.totalBytes ?? sizeBytes
  const bytes = BigInt(upload.state === 'verifying' ? upload.verifiedBytes : progress.bytes)
  return {
    phase: upload.state === 'verifying' ? 'verifying' : 'sending',
    reference,
    bytes,
    settledBytes: bytes,
    totalBytes: total === null ? undefined : BigInt(total),
    attempt: progress.attempt,
  }
}

function formatChange(upload: Upload, at: string): string {
  const head = `${formatMoment(at)}  ${upload.state.padEnd(9)}  ${sanitise(upload.reference)}`
  switch (upload.state) {
    case 'open': {
      const attempt = upload.progress.attempt
      return attempt > 1 ? `${head}  attempt ${attempt}` : head
    }
    case 'sealed':
      return `${head}  ${formatBytes(BigInt(upload.artifact.sizeBytes))}  ${upload.artifact.sha256}`
    case 'failed':
      return `${head}  ${sanitise(upload.problem.detail)}`
    case 'verifying':
    case 'aborted':
    case 'expired':
      return head
  }
}

/** Throws what an upload ended by, unless it was sealed. */
function judge(upload: Upload): void {
  if (upload.state === 'sealed') return
  if (upload.state === 'failed') throw parseProblem(upload.problem)
  throw new ArtifactError('upload_ended', `Cannot watch on: the upload was ended`, {
    expected: 'sealed',
    found: upload.state,
  })
}
