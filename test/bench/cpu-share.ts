/** A share of one core for some processes, by the control groups of Linux, for whoever may make them. */
import { mkdirSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** Processes that together get no more than a share of one core. */
export interface CpuShare extends Disposable {
  /** Holds a process to it, with all its threads and what it starts later. */
  hold(pid: number): void
}

/**
 * Within a period a process runs until its share is used up, and then stands still, in the middle of a
 * transaction too: longer than need be, and others wait for what would be ready on a machine of its own.
 */
const PERIOD_MICROSECONDS = 5000
/** The kernel gives no less in a period. */
const QUOTA_MICROSECONDS_MIN = 1000

/** A share between 0 and 1 of one core; `undefined` where no group can be made. */
export function openCpuShare(name: string, share: number): CpuShare | undefined {
  const quota = Math.max(QUOTA_MICROSECONDS_MIN, Math.round(PERIOD_MICROSECONDS * share))
  const period = Math.round(quota / share)
  const kinds = [
    // Version 1 of control groups, then version 2 (kernel documentation, "CPU Controller").
    ['/sys/fs/cgroup/cpu', { 'cpu.cfs_period_us': period, 'cpu.cfs_quota_us': quota }],
    ['/sys/fs/cgroup', { 'cpu.max': `${quota} ${period}` }],
  ] as const
  for (const [parent, limits] of kinds) {
    const group = join(parent, name)
    try {
      mkdirSync(group)
      for (const [file, value] of Object.entries(limits)) set(join(group, file), value)
      return {
        hold: (pid) => set(join(group, 'cgroup.procs'), pid),
        // A group goes when its processes are gone.
        [Symbol.dispose]: () => rmdirSync(group),
      }
    } catch {
      try {
        rmdirSync(group)
      } catch {
        // It was never made.
      }
    }
  }
  return undefined
}

/** Writes to a file of the kernel; where it is not, the folder is no group, and nothing is made in it. */
function set(file: string, value: string | number): void {
  writeFileSync(file, String(value), { flag: 'r+' })
}
