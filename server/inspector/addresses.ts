/** Addresses of the pages, and commands as somebody pastes them into a shell. */
import { artifactPath } from './browser/addresses.js'

/** The page of a task. */
export function addressOfTask(task: string): string {
  return `/tasks/${encodeURIComponent(task)}`
}

/** The page of a run. */
export function addressOfRun(task: string, run: number): string {
  return `${addressOfTask(task)}/${run}`
}

/** The page of an artifact. */
export const addressOfArtifact = artifactPath

/** The address of a record in the API, or of what lies below it. */
export function addressOfRecord(
  artifact: { task: string; run: number; name: string },
  below = '',
): string {
  return `/v1/tasks/${encodeURIComponent(artifact.task)}/runs/${artifact.run}/artifacts/${encodeURIComponent(artifact.name)}${below}`
}

/** Where a grant for the bytes is given. */
export function addressOfContent(artifact: { task: string; run: number; name: string }): string {
  return `/v1/tasks/${encodeURIComponent(artifact.task)}/runs/${artifact.run}/content/${encodeURIComponent(artifact.name)}`
}

/** The command that fetches an artifact and checks everything about it. */
export function commandToGet(reference: string): string {
  return `artifact get --verify ${quoteForShell(reference)}`
}

/** A word for a POSIX shell: as it is when nothing in it means anything to the shell. */
export function quoteForShell(word: string): string {
  return /^[A-Za-z0-9._/@%+=:,-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
}
