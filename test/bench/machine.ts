/** On what, of what and when it is measured. */
import { cpus, release, totalmem } from 'node:os'
import { ask } from './tools.ts'

/** One line for people. */
export function formatMachine(program: string): string {
  const [first] = cpus()
  const version = ask([process.execPath, program, '--version']) ?? 'artifact'
  const form = program.endsWith('.ts') ? 'from source' : 'built'
  const date = new Date().toISOString().slice(0, 16).replace('T', ' ')
  const memory = `${Math.round(totalmem() / 1024 ** 3)} GiB`
  return `${version} ${form}, ${date} UTC, ${first?.model.trim() ?? 'unknown'}, ${cpus().length} cores, ${memory}, Linux ${release()}, Node ${process.versions.node}.`
}
