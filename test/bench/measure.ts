/**
 * One run of a command, measured from outside: wall time, CPU of its whole process tree, peak memory,
 * and what it made the store and our server do meanwhile.
 *
 * Wall and CPU come from `time` of bash, which asks the kernel for the usage of its children
 * (getrusage(2), RUSAGE_CHILDREN): every process that the command started and waited for counts with
 * every thread, whether it lives at the end or not, in microseconds. Polling /proc would miss what
 * ended between two looks. Memory cannot be asked so, and is polled: the peak of one process is kept
 * by the kernel (VmHWM), so a look misses at most what it grew in the last `POLL_MS`.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  listTree,
  readMachineCpuSeconds,
  readPeakBytes,
  readResidentBytes,
  readTreeCpuSeconds,
  resetPeak,
} from './process-tree.ts'

const POLL_MS = 20
/** 128 and the number of the signal, as shells count. */
const INTERRUPTED = 130
/** What is kept of each output of a command. */
const OUTPUT_CHARACTERS_MAX = 1_000_000

export interface Command {
  words: readonly string[]
  environment?: NodeJS.ProcessEnv
  folder?: string
  /** Interrupts the command, as Ctrl-C would, once its stderr says so; it may then end with 130. */
  stopWhen?: (stderr: string) => boolean
}

/** Processes beside the command whose work is counted apart, by process id. */
export interface Watched {
  store?: number | undefined
  server?: number | undefined
}

export interface Sample {
  wallSeconds: number
  userSeconds: number
  systemSeconds: number
  /** Of the gateway and the daemons behind it. */
  storeCpuSeconds: number
  /** Of our server and its Postgres. */
  serverCpuSeconds: number
  /** Of everything else on the machine, this program included: how quiet it was. */
  otherCpuSeconds: number
  /** Of the largest process of the command. */
  peakBytes: number
  /** Of all processes of the command together; pages that they share count twice. */
  peakSumBytes: number
  /** Of our server alone, without its Postgres. */
  serverPeakBytes: number
}

export interface Outcome {
  sample: Sample
  stdout: string
}

/** Runs a command to its end. Rejects with what it wrote when it fails. */
export async function measure(command: Command, watched: Watched = {}): Promise<Outcome> {
  if (watched.server !== undefined) resetPeak(watched.server)
  const readWatched = () => ({
    store: watched.store === undefined ? 0 : readTreeCpuSeconds(watched.store),
    server: watched.server === undefined ? 0 : readTreeCpuSeconds(watched.server),
    machine: readMachineCpuSeconds(),
  })
  const before = readWatched()
  const { stdout, peakBytes, peakSumBytes, times } = await runTimed(command)
  const after = readWatched()
  const { wallSeconds, userSeconds, systemSeconds } = times
  const storeCpuSeconds = after.store - before.store
  const serverCpuSeconds = after.server - before.server
  const busy = after.machine - before.machine
  const known = userSeconds + systemSeconds + storeCpuSeconds + serverCpuSeconds
  const sample = {
    ...times,
    wallSeconds,
    storeCpuSeconds,
    serverCpuSeconds,
    otherCpuSeconds: Math.max(0, busy - known),
    peakBytes,
    peakSumBytes,
    serverPeakBytes: watched.server === undefined ? 0 : readPeakBytes(watched.server),
  }
  return { sample, stdout }
}

/** Runs a command to its end without measuring; resolves to its stdout, rejects when it fails. */
export async function run(command: Command): Promise<string> {
  return (await runTimed(command)).stdout
}

// `time` writes to the shell's stderr: that becomes pipe 3, and the command gets the real one.
const TIMED = 'TIMEFORMAT="%3R %3U %3S"; exec 4>&2 2>&3 3>&-; time "$@" 2>&4 4>&-'

async function runTimed({ words, environment, folder, stopWhen }: Command) {
  const child = spawn('bash', ['-c', TIMED, 'bash', ...words], {
    cwd: folder,
    env: environment ?? process.env,
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
  })
  const written = ['', '', '', '']
  child.stdio.forEach((stream, index) => {
    stream?.on('data', (chunk: Buffer) => {
      written[index] = ((written[index] ?? '') + String(chunk)).slice(-OUTPUT_CHARACTERS_MAX)
    })
  })
  const peak = watchTree(child.pid ?? 0, () => stopWhen?.(written[2] ?? '') === true)
  await once(child, 'close')
  peak.stop()
  const [, stdout = '', stderr = '', time = ''] = written
  if (child.exitCode !== 0 && !(child.exitCode === INTERRUPTED && peak.isStopped()))
    throw new Error(
      `${words.join(' ').slice(0, 200)} ended with ${child.exitCode}: ${(stderr || stdout).trim().slice(-600)}`,
    )
  const [wallSeconds = 0, userSeconds = 0, systemSeconds = 0] = time
    .trim()
    // Of whatever locale.
    .replaceAll(',', '.')
    .split(' ')
    .map(Number)
  return {
    stdout,
    peakBytes: peak.largest(),
    peakSumBytes: peak.sum(),
    times: { wallSeconds, userSeconds, systemSeconds },
  }
}

/** Looks at the descendants of a shell until it is told to stop; the shell itself does not count. */
function watchTree(shell: number, stopWhen: () => boolean) {
  let largest = 0
  let sum = 0
  let isStopped = false
  const look = () => {
    const [, ...pids] = listTree(shell)
    largest = Math.max(largest, ...pids.map(readPeakBytes))
    sum = Math.max(
      sum,
      pids.reduce((total, pid) => total + readResidentBytes(pid), 0),
    )
    if (!isStopped && pids.length > 0 && stopWhen()) {
      isStopped = true
      for (const pid of pids) process.kill(pid, 'SIGINT')
    }
  }
  const timer = setInterval(look, POLL_MS)
  return {
    stop: () => clearInterval(timer),
    isStopped: () => isStopped,
    largest: () => largest,
    sum: () => Math.max(sum, largest),
  }
}
