/** `artifact upload`: files, a folder, or a stream. */
import { addAbortSignal } from 'node:stream'
import { z } from 'zod'
import { Labels, Sha256 } from '../../schemas/primitives.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { parseReference } from '../../schemas/reference.ts'
import { checkAbsent, writeNewFile } from '../disk/new-file.ts'
import { describeFailure, summariseError } from '../error-report.ts'
import { formatBytes, formatCount, formatElapsed, sanitise } from '../terminal-format.ts'
import { showProgress } from '../terminal-progress.ts'
import type { Connection } from '../transfer/connection.ts'
import { upload as uploadOne } from '../transfer/upload.ts'
import {
  type FailedFile,
  type UploadAllResult,
  type UploadEntry,
  uploadAll,
} from '../transfer/upload-all.ts'
import type { UploadOptions, UploadResult, UploadSource } from '../transfer/upload-job.ts'
import type { Trust } from '../trust/trust.ts'
import {
  type CommandContext,
  choice,
  count,
  defineCommand,
  flag,
  list,
  manyPositionals,
  option,
  positional,
  text,
} from './command.ts'
import { connectServer } from './connection.ts'
import { openJsonList } from './json-list.ts'
import { trustOptions, trustServer } from './trust.ts'
import { findEntries, isFolder } from './upload-entries.ts'

const options = z.object({
  label: list('KEY=VALUE', 'Recorded with the artifact'),
  contentType: text('TYPE', 'Media type [application/octet-stream]'),
  expectSha256: option(Sha256.optional(), {
    kind: 'text',
    placeholder: 'HEX',
    summary: 'Seal nothing but content with this SHA-256',
  }),
  policy: choice(
    ['reread', 'parts'],
    'How the server convinces itself: it reads all bytes again, or trusts the check of every part [as it is set]',
  ),
  concurrency: count('N', 'Parts that move at once [6]', { min: 1, max: 64 }),
  receipt: text('PATH', 'Of a single file: save the proof that the log has it'),
  force: flag('Replace the file of --receipt if it exists'),
  noReceipt: flag('Do not wait until the log has it'),
  ...trustOptions.shape,
  followLinks: flag('Read what symbolic links lead to, instead of refusing them'),
  stdinFromCommand: flag('Run the command after --, and upload what it writes to stdout'),
  size: option(
    z
      .string()
      .regex(/^[0-9]{1,19}$/, 'expected a number of bytes')
      .transform(BigInt)
      .optional(),
    {
      kind: 'text',
      placeholder: 'BYTES',
      summary: 'Size of a stream, when it is known beforehand',
    },
  ),
})

type Options = z.infer<typeof options>
type TrustingOptions = Options & { trust: Trust }

interface Target {
  task: string
  run?: number
  name?: string
}

export const upload = defineCommand({
  usage: [
    'upload [OPTION…] FILE… TASK[/RUN[/NAME]]',
    'upload [OPTION…] FOLDER TASK[/RUN[/NAME]]',
    'upload [OPTION…] - TASK/RUN/NAME',
    'upload [OPTION…] --stdin-from-command TASK/RUN/NAME -- COMMAND…',
  ],
  description:
    'Uploads and seals. Without RUN the server allots the next one; without NAME a file keeps its own. Several files, or those of a folder, become one run: each file its own artifact, under NAME/ if it is given. The same command again, after a crash or Ctrl-C, goes on with what was begun. When the server has a log, the command waits until the log has what was sent, and checks that; for small files among many that is left to get and verify. The reference is printed on stdout.',
  options,
  positionals: z.object({
    sources: manyPositionals('FILE', 'Files, a folder, or - for stdin'),
    target: positional('TASK[/RUN[/NAME]]', 'Where it shall be'),
  }),
  takesCommand: true,
  examples: [
    { line: 'artifact upload db.dump turtle-db', about: 'a file, into the next run of turtle-db' },
    {
      line: 'artifact upload db.dump turtle-db/7/nightly/db.dump --label host=pg1',
      about: 'under a name of its own, with a label',
    },
    {
      line: 'artifact upload db.dump turtle-db --receipt db.dump.tlog-proof',
      about: 'and keep the proof, for artifact verify --receipt',
    },
    { line: 'artifact upload dist/ website', about: 'a folder, each file its own artifact' },
    {
      line: 'artifact upload --stdin-from-command turtle-db/8/db.sql -- echo "select 1"',
      about: 'what a command writes; when it fails, nothing is sealed',
    },
  ],
  exits: {
    integrity:
      'what was sent is not what was expected, nothing was sealed; or it was, and the log does not say so',
    notAllowed: 'the token is missing, not valid, or does not allow it',
    conflict: 'the name is sealed already, with other content',
    unreachable: 'the server or the store cannot be reached; the same command resumes',
    refused:
      'the file changed meanwhile, the command failed, a link was met, or a limit refused it',
    partly: 'of several files only some went',
    locked: 'another process uploads the same file',
  },
  async run({ options, positionals, rest }, context) {
    const target = parseTarget(positionals.target)
    const plan = await planUpload(positionals.sources, rest, target, options, context)
    await checkReceiptOptions(plan, options)
    await using connection = await connectServer(context)
    const trust = await trustServer(connection, options, context)
    // Before hours of sending: what is asked for cannot be had later either.
    if (options.receipt !== undefined) await trust.demandLog(context.signal)
    const trusting = { ...options, trust }
    if (plan.kind === 'one') await uploadSingle(connection, plan, trusting, context)
    else await uploadSeveral(connection, plan, trusting, context)
  },
})

type Plan =
  | { kind: 'one'; source: UploadSource; target: Target }
  | { kind: 'many'; entries: UploadEntry[]; target: Target }

function parseTarget(text: string): Target {
  const { task, run, name } = parseReference(text)
  if (run === 'latest')
    throw new ArtifactError('usage', 'Cannot upload into the run latest: it names what is there', {
      expected: 'a number, or no run at all for the next one',
    })
  return {
    task,
    ...(run === undefined ? {} : { run }),
    ...(name === undefined ? {} : { name }),
  }
}

/** What is to be sent; nothing is, when any part of it cannot be. */
async function planUpload(
  sources: string[],
  rest: string[],
  target: Target,
  options: Options,
  context: CommandContext,
): Promise<Plan> {
  const size = options.size === undefined ? {} : { sizeBytes: options.size }
  if (options.stdinFromCommand) {
    if (sources.length > 0 || rest.length === 0)
      throw new ArtifactError('usage', 'Cannot run a command for the data: the words do not fit', {
        expected: 'artifact upload --stdin-from-command TASK/RUN/NAME -- COMMAND…',
      })
    requireName(target)
    const { readCommandOutput } = await import('./command-output.ts')
    return { kind: 'one', source: { stream: readCommandOutput(rest, context), ...size }, target }
  }
  const paths = [...sources, ...rest]
  if (paths.length === 0)
    throw new ArtifactError('usage', 'Cannot upload: no file is given', {
      expected: 'artifact upload FILE… TASK[/RUN[/NAME]]',
    })
  if (paths.length === 1 && paths[0] === '-') {
    requireName(target)
    return { kind: 'one', source: { stream: readStdin(context), ...size }, target }
  }
  if (options.size !== undefined)
    throw new ArtifactError('usage', 'Cannot take --size: it is for a stream alone')
  const [first = '', ...others] = paths
  if (others.length === 0 && !(await isFolder(first, options.followLinks)))
    return { kind: 'one', source: { file: first }, target }
  if (options.expectSha256 !== undefined)
    throw new ArtifactError('usage', 'Cannot take --expect-sha256: it is for a single file')
  const entries = await findEntries(paths, target.name, options.followLinks)
  return { kind: 'many', entries, target }
}

async function checkReceiptOptions(plan: Plan, options: Options): Promise<void> {
  const { receipt, noReceipt, force } = options
  if (receipt === undefined) {
    if (!force) return
    throw new ArtifactError('usage', 'Cannot take --force: it is for --receipt alone')
  }
  if (noReceipt)
    throw new ArtifactError('usage', 'Cannot save a receipt: --no-receipt does not wait for it')
  if (plan.kind === 'many')
    throw new ArtifactError('usage', 'Cannot take --receipt: it is for a single file')
  if (!force) await checkAbsent(receipt)
}

function requireName(target: Target): void {
  if (target.name === undefined)
    throw new ArtifactError('usage', 'Cannot upload a stream: it has no name of its own', {
      expected: 'TASK/RUN/NAME',
    })
}

function readStdin({ openStdin, signal }: CommandContext): AsyncIterable<Uint8Array> {
  const stdin = openStdin()
  if (stdin.isTTY === true)
    throw new ArtifactError('usage', 'Cannot upload from stdin: it is a terminal', {
      expected: 'a pipe or a file, for example: tar c folder | artifact upload - TASK/RUN/NAME',
    })
  // Whoever waits for the next byte must learn of the interruption.
  return addAbortSignal(signal, stdin)
}

function transferOptions(options: TrustingOptions, context: CommandContext): UploadOptions {
  return {
    contentType: options.contentType,
    labels: parseLabels(options.label),
    expectSha256: options.expectSha256,
    policy: options.policy,
    concurrency: options.concurrency,
    followLinks: options.followLinks,
    receipt: !options.noReceipt,
    trust: options.trust,
    signal: context.signal,
    journal: context.environment.stateFolder,
  }
}

function parseLabels(words: readonly string[]): Record<string, string> {
  const pairs = words.map((word) => {
    const at = word.indexOf('=')
    if (at < 1)
      throw new ArtifactError('usage', 'Cannot read --label: it has no value', {
        expected: 'KEY=VALUE',
        found: word,
      })
    return [word.slice(0, at), word.slice(at + 1)] as const
  })
  const result = Labels.safeParse(Object.fromEntries(pairs))
  if (!result.success)
    throw new ArtifactError('usage', `Cannot read --label: ${result.error.issues[0]?.message}`)
  return result.data
}

async function uploadSingle(
  connection: Connection,
  { source, target }: Plan & { kind: 'one' },
  options: TrustingOptions,
  context: CommandContext,
): Promise<void> {
  const startedAt = context.clock().getTime()
  const result = await uploadAloud()
  const elapsed = context.clock().getTime() - startedAt
  for (const line of formatSealed(result, elapsed)) context.terminal.say(line)
  const { receipt: path, force } = options
  if (path !== undefined && result.receipt !== undefined) {
    await writeNewFile(path, result.receipt, { replace: force })
    context.terminal.say(`Saved the receipt in ${path}`)
  }
  if (context.globals.json) await context.terminal.printJson(result.artifact)
  else await context.terminal.print(result.artifact.reference)

  async function uploadAloud() {
    using view = await showProgress(context)
    return await uploadOne(connection, source, target, {
      ...transferOptions(options, context),
      onProgress: (progress) => view.update('', progress),
    })
  }
}

function formatSealed(
  { outcome, artifact, resumed, sentBytes }: UploadResult,
  elapsed: number,
): string[] {
  const reference = sanitise(artifact.reference)
  if (outcome === 'already-sealed')
    return [`${reference} is sealed already, with this very content`]
  const size = formatBytes(BigInt(artifact.sizeBytes))
  const parts = formatCount(artifact.partCount, 'part')
  const sent = resumed ? `, resumed: ${formatBytes(sentBytes)} sent now` : ''
  return [
    `Sealed ${reference}: ${size} in ${parts}, ${formatElapsed(elapsed)}${sent}`,
    `  sha256 ${artifact.sha256}`,
  ]
}

async function uploadSeveral(
  connection: Connection,
  { entries, target }: Plan & { kind: 'many' },
  options: TrustingOptions,
  context: CommandContext,
): Promise<void> {
  const { terminal, globals, clock } = context
  const startedAt = clock().getTime()
  const tally: Tally = { references: [], count: 0, before: 0, bytes: 0n }
  const list = openJsonList(terminal, 'artifacts')
  const { task, run, failed } = await uploadAloud()
  const { references, count, before, bytes } = tally
  if (globals.json) await list.end({ task, run }, { failed: failed.map(describe) })
  else await terminal.printList(references.sort())
  const elapsed = formatElapsed(clock().getTime() - startedAt)
  const sealed = formatCount(count - before, 'file')
  const known = before === 0 ? '' : `, ${before} sealed before`
  terminal.say(`Sealed ${sealed} in ${task}/${run}${known}: ${formatBytes(bytes)}, ${elapsed}`)
  reportFailures({ task, run, failed, count }, context)

  async function uploadAloud() {
    using view = await showProgress(context)
    const { expectSha256: _, ...shared } = transferOptions(options, context)
    return await uploadAll(connection, entries, target, {
      ...shared,
      onProgress: (progress) => view.update('', progress),
      async onSealed({ outcome, artifact }) {
        tally.count++
        if (outcome === 'already-sealed') tally.before++
        tally.bytes += BigInt(artifact.sizeBytes)
        const { task, run, reference } = artifact
        if (globals.json) await list.add({ task, run }, artifact)
        else tally.references.push(reference)
      },
    })
  }
}

/** What is told of the files that are sealed; no record is kept. */
interface Tally {
  /** To be printed in order, unless each was printed as it came. */
  references: string[]
  count: number
  /** Sealed before this command ran. */
  before: number
  bytes: bigint
}

const describe = ({ name, error }: FailedFile) => ({ name, error: describeFailure(error) })

/** Names every failure, then throws: the error itself when all failed alike, else `partly_done`. */
function reportFailures(
  { task, run, failed, count }: Omit<UploadAllResult, 'done'> & { count: number },
  { terminal, signal }: CommandContext,
): void {
  const [first] = failed
  if (first === undefined) return
  // What an interruption left undone is too much to name, and known to who interrupted.
  for (const { name, error } of failed)
    if (error.code !== 'interrupted')
      terminal.warn(`artifact: ${sanitise(name)}: ${summariseError(error)}`)
  signal.throwIfAborted()
  const alike = failed.every(({ error }) => error.code === first.error.code)
  if (count === 0 && alike) throw first.error
  throw new ArtifactError('partly_done', `Cannot upload all files to ${task}/${run}: some failed`, {
    expected: formatCount(count + failed.length, 'file'),
    found: `${count} sealed, ${failed.length} failed`,
  })
}
