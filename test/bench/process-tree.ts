/** What the kernel counts of a process and all that it started; Linux only, from /proc. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'

/** The unit of times in /proc, proc(5): `sysconf(_SC_CLK_TCK)`, 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100
const KIB = 1024

interface Counted {
  parent: number
  /** Of the process itself, and of the children that it has waited for. */
  seconds: number
}

/**
 * CPU seconds, user and system, of a process and its descendants so far: of those that live, and of
 * those that ended and were waited for. A difference of two calls is what they used between them.
 */
export function readTreeCpuSeconds(root: number): number {
  const all = new Map<number, Counted>()
  for (const entry of readdirSync('/proc'))
    if (/^\d+$/.test(entry)) {
      const counted = readCounted(Number(entry))
      if (counted !== undefined) all.set(Number(entry), counted)
    }
  const isInside = (pid: number): boolean => {
    if (pid === root) return true
    const parent = all.get(pid)?.parent
    return parent !== undefined && parent > 1 && isInside(parent)
  }
  let seconds = 0
  for (const [pid, counted] of all) if (isInside(pid)) seconds += counted.seconds
  return seconds
}

/** CPU seconds of a process alone so far, all its threads; 0 when it has ended. */
export function readOwnCpuSeconds(pid: number): number {
  const ticks = readFields(pid)?.slice(11, 13) ?? []
  return sumOf(ticks) / TICKS_PER_SECOND
}

/** CPU seconds that the whole machine was busy since it started; waiting for disks is not busy. */
export function readMachineCpuSeconds(): number {
  const [line = ''] = readFileSync('/proc/stat', 'utf8').split('\n')
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = line
    .split(/\s+/)
    .slice(1)
    .map(Number)
  return (user + nice + system + irq + softirq) / TICKS_PER_SECOND
}

/** Peak resident bytes of a process since its start, or since `resetPeak`; 0 when it has ended. */
export function readPeakBytes(pid: number): number {
  return readStatusBytes(pid, 'VmHWM')
}

/** Lets the peak of a process begin anew at what it has now (proc(5), clear_refs, 5). */
export function resetPeak(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, '5')
}

/** Resident bytes now; 0 when it has ended. */
export function readResidentBytes(pid: number): number {
  return readStatusBytes(pid, 'VmRSS')
}

/** What a process has moved so far by read(2), write(2) and their kin: files, pipes and sockets alike. */
export interface MovedBytes {
  read: number
  written: number
}

/** `rchar` and `wchar` of proc(5): all its threads; zeros when it has ended. */
export function readMovedBytes(pid: number): MovedBytes {
  const text = readOrNothing(`/proc/${pid}/io`)
  const field = (name: string) => Number(new RegExp(`^${name}: (\\d+)`, 'm').exec(text)?.[1] ?? 0)
  return { read: field('rchar'), written: field('wchar') }
}

/** A process and its descendants, as far as their main threads started them. */
export function listTree(root: number): number[] {
  return [root, ...readChildren(root).flatMap(listTree)]
}

function readChildren(pid: number): number[] {
  const text = readOrNothing(`/proc/${pid}/task/${pid}/children`)
  return text.split(' ').filter(Boolean).map(Number)
}

function readStatusBytes(pid: number, field: string): number {
  const match = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(
    readOrNothing(`/proc/${pid}/status`),
  )
  return Number(match?.[1] ?? 0) * KIB
}

function readCounted(pid: number): Counted | undefined {
  const fields = readFields(pid)
  if (fields === undefined) return undefined
  return { parent: Number(fields[1]), seconds: sumOf(fields.slice(11, 15)) / TICKS_PER_SECOND }
}

/** The fields of proc(5), `stat`, from the third one on. The name before them may hold spaces and brackets. */
function readFields(pid: number): string[] | undefined {
  const text = readOrNothing(`/proc/${pid}/stat`)
  return text === '' ? undefined : text.slice(text.lastIndexOf(')') + 2).split(' ')
}

const sumOf = (fields: readonly string[]) => fields.reduce((sum, field) => sum + Number(field), 0)

function readOrNothing(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    // It ended meanwhile.
    return ''
  }
}
