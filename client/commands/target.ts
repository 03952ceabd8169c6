/** References as commands take them. */
import { ArtifactError } from '../../schemas/problems.ts'
import { parseReference, type RunSelector } from '../../schemas/reference.ts'

/** A reference to one artifact; throws `usage` when run or name is missing. */
export function parseArtifactReference(text: string): {
  task: string
  run: RunSelector
  name: string
} {
  const { task, run, name } = parseReference(text)
  if (run === undefined || name === undefined)
    throw incomplete(text, 'TASK/RUN/NAME, for example turtle-db/latest/db.dump')
  return { task, run, name }
}

/** A reference to a run; throws `usage` when the run is missing, or a name is there. */
export function parseRunReference(text: string): { task: string; run: RunSelector } {
  const { task, run, name } = parseReference(text)
  if (run === undefined || name !== undefined)
    throw incomplete(text, 'TASK/RUN, for example turtle-db/latest')
  return { task, run }
}

/** Whether it is an id rather than a reference or a name. */
export function isUuid(text: string): boolean {
  return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)
}

function incomplete(found: string, expected: string): ArtifactError {
  return new ArtifactError(
    'usage',
    'Cannot read the reference: it is not of the form needed here',
    {
      expected,
      found,
    },
  )
}
