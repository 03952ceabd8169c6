/** `artifact get`: one artifact, or a whole run. */
import { basename } from 'node:path'
import { z } from 'zod'
import { ArtifactError } from '../../schemas/problems.ts'
import { parseReference, type RunSelector } from '../../schemas/reference.ts'
import { describeFailure, summariseError } from '../error-report.ts'
import { formatBytes, formatCount, formatElapsed, sanitise } from '../terminal-format.ts'
import { type ProgressView, showProgress } from '../terminal-progress.ts'
import type { Connection } from '../transfer/connection.ts'
import { get as getOne } from '../transfer/get.ts'
import type { GetResult } from '../transfer/get-options.ts'
import { getRun } from '../transfer/get-run.ts'
import type { FailedFile } from '../transfer/many.ts'
import type { Trust } from '../trust/trust.ts'
import { type CommandContext, count, defineCommand, flag, positional, text } from './command.ts'
import { connectServer } from './connection.ts'
import { openJsonList } from './json-list.ts'
import { readLock } from './lock-options.ts'
import { trustOptions, trustServer } from './trust.ts'

const options = z.object({
  output: text('PATH', 'File or folder to write, or - for stdout [the name, in this folder]', {
    short: 'o',
  }),
  verify: flag('Demand every check; a server without a log is a failure'),
  ...trustOptions.shape,
  lock: text('FILE', 'Get only what this lock file pins, from the log that it pins', {
    variable: 'ARTIFACT_LOCK',
  }),
  spool: flag('To stdout: hold everything back until the whole is verified'),
  force: flag('Replace files that exist'),
  keepPartial: flag('Keep what was verified when something fails, to go on later'),
  prefix: text('PREFIX', 'Of a run: only names that begin with it'),
  concurrency: count('N', 'Parts that move at once [6]', { min: 1, max: 64 }),
})

type Options = z.infer<typeof options>
type TrustingOptions = Options & { trust: Trust }

export const get = defineCommand({
  usage: ['get [OPTION…] TASK/RUN/NAME [-o PATH|-]', 'get [OPTION…] TASK/RUN -o FOLDER'],
  description:
    'Gets one artifact, or all of a run. Bytes wait in quarantine beside the target until size, parts and SHA-256 agree with the record; if they do not, nothing is at the target. To stdout a part is released once its own digest agrees, and the exit code tells about the whole. When the server has a log, the record must be in it, under a head that the pinned key signed and that continues what was seen before, or nothing is asked for. Verification cannot be switched off.',
  options,
  positionals: z.object({ reference: positional('TASK/RUN[/NAME]', 'The artifact, or the run') }),
  examples: [
    { line: 'artifact get turtle-db/latest/db.dump --verify', about: 'into this folder' },
    {
      line: 'artifact get turtle-db/7/db.dump --spool -o - | wc --bytes',
      about: 'into a pipe, nothing before all of it is verified',
    },
    { line: 'artifact get turtle-db/7 -o restored', about: 'a whole run into a folder' },
  ],
  exits: {
    integrity: 'what came, or what the log says, is not what was sealed; nothing was written',
    notAllowed: 'the token is missing or not valid',
    notFound: 'there is no such artifact or run, or it is not yours to see',
    unreachable: 'the server or the store cannot be reached',
    refused: 'the target exists already, a path is not safe, or it is not pinned',
    partly: 'of a run only some artifacts came',
    locked: 'another process gets the same artifact to the same place',
  },
  async run({ options, positionals }, context) {
    const { task, run, name } = parseReference(positionals.reference)
    if (run === undefined)
      throw new ArtifactError('usage', 'Cannot get a task: its run is missing', {
        expected: `for example ${task}/latest`,
      })
    checkOutput(options, name, context)
    await using connection = await connectServer(context)
    const lockPath = options.lock ?? context.environment.lock
    const lock = lockPath === undefined ? undefined : await readLock(lockPath)
    const trust = await trustServer(connection, options, context, lock)
    const trusting = { ...options, trust }
    if (name === undefined) await getFolder(connection, task, run, trusting, context)
    else await getFile(connection, { task, run, name }, trusting, context)
  },
})

function checkOutput(
  options: Options,
  name: string | undefined,
  { globals }: CommandContext,
): void {
  const { output } = options
  if (output === '')
    throw new ArtifactError('usage', 'Cannot write to the path of --output: it is empty')
  if (name === undefined && (output === undefined || output === '-'))
    throw new ArtifactError('usage', 'Cannot get a whole run: it needs a folder', {
      expected: '-o FOLDER',
    })
  if (output === '-' && globals.json)
    throw new ArtifactError('usage', 'Cannot print JSON: stdout is taken by the artifact')
  if (options.spool && output !== '-')
    throw new ArtifactError('usage', 'Cannot take --spool: it is for -o - alone')
  if (options.prefix !== undefined && name !== undefined)
    throw new ArtifactError('usage', 'Cannot take --prefix: it is for a whole run')
}

function transferOptions(options: TrustingOptions, context: CommandContext, view: ProgressView) {
  return {
    force: options.force,
    verify: options.verify,
    trust: options.trust,
    keepPartial: options.keepPartial,
    concurrency: options.concurrency,
    signal: context.signal,
    onProgress: (progress: Parameters<ProgressView['update']>[1]) => view.update('', progress),
  }
}

async function getFile(
  connection: Connection,
  reference: { task: string; run: RunSelector; name: string },
  options: TrustingOptions,
  context: CommandContext,
): Promise<void> {
  const { terminal, globals, stdout, clock } = context
  const startedAt = clock().getTime()
  const result = await getAloud()
  terminal.say(formatGot(result, clock().getTime() - startedAt))
  if (globals.json) await terminal.printJson(describeResult(result))
  else if (result.path !== undefined) await terminal.print(sanitise(result.path))

  async function getAloud() {
    const toStdout = options.output === '-'
    // The artifact and a bar on one terminal would be neither.
    const quiet = toStdout && stdout.isTerminal && globals.progress === undefined
    using view = await showProgress(
      quiet ? { ...context, globals: { ...globals, quiet } } : context,
    )
    return await getOne(connection, reference, {
      ...transferOptions(options, context, view),
      output: toStdout ? stdout.stream : (options.output ?? basename(reference.name)),
      spool: options.spool,
    })
  }
}

function formatGot({ artifact, checks, resumedBytes }: GetResult, elapsed: number): string {
  const size = formatBytes(BigInt(artifact.sizeBytes))
  const resumed = resumedBytes > 0n ? `, ${formatBytes(resumedBytes)} of it from before` : ''
  return `Got ${sanitise(artifact.reference)}: ${size}${resumed}, ${formatElapsed(elapsed)}, verified: ${checks.join(', ')}`
}

function describeResult({ artifact, path, checks, receivedBytes, resumedBytes }: GetResult) {
  return { artifact, path, checks, receivedBytes, resumedBytes }
}

async function getFolder(
  connection: Connection,
  task: string,
  run: RunSelector,
  options: TrustingOptions,
  context: CommandContext,
): Promise<void> {
  const { terminal, globals, clock } = context
  const folder = options.output ?? '.'
  const startedAt = clock().getTime()
  const paths: string[] = []
  const list = openJsonList(terminal, 'artifacts')
  let count = 0
  let bytes = 0n
  const result = await getAloud()
  const { failed } = result
  if (globals.json)
    await list.end({ task, run: result.run }, { failed: failed.map(describeFailed) })
  else await terminal.printList(paths.sort())
  const elapsed = formatElapsed(clock().getTime() - startedAt)
  terminal.say(
    `Got ${formatCount(count, 'artifact')} of ${task}/${result.run ?? run}, each verified: ${formatBytes(bytes)}, ${elapsed}`,
  )
  reportFailures(failed, count, `${task}/${result.run ?? run}`, context)

  async function getAloud() {
    using view = await showProgress(context)
    return await getRun(connection, task, run, folder, {
      ...transferOptions(options, context, view),
      prefix: options.prefix,
      async onGot(got) {
        const { artifact, path } = got
        count++
        bytes += BigInt(artifact.sizeBytes)
        if (globals.json) await list.add({ task, run: artifact.run }, describeResult(got))
        else paths.push(sanitise(path ?? ''))
      },
    })
  }
}

const describeFailed = ({ name, error }: FailedFile) => ({ name, error: describeFailure(error) })

function reportFailures(
  failed: readonly FailedFile[],
  count: number,
  reference: string,
  { terminal, signal }: CommandContext,
): void {
  const [first] = failed
  if (first === undefined) return
  // What an interruption left undone is too much to name, and known to who interrupted.
  for (const { name, error } of failed)
    if (error.code !== 'interrupted')
      terminal.warn(`artifact: ${sanitise(name)}: ${summariseError(error)}`)
  signal.throwIfAborted()
  // A log that is dishonest is not a failure of some of the files.
  const conviction = failed.find(({ error }) => ['log_fork', 'log_rollback'].includes(error.code))
  if (conviction !== undefined) throw conviction.error
  const alike = failed.every(({ error }) => error.code === first.error.code)
  if (count === 0 && alike) throw first.error
  throw new ArtifactError('partly_done', `Cannot get all artifacts of ${reference}: some failed`, {
    expected: formatCount(count + failed.length, 'artifact'),
    found: `${count} came, ${failed.length} failed`,
  })
}
