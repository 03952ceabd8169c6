/** What a scope allows. The grammar of scopes is in `schemas/token.ts`. */
import { ArtifactError } from '../../schemas/problems.ts'

/** Whoever sends a request, known by a token, or nobody in particular. */
export interface Principal {
  /** `undefined` without a token. */
  token: { id: string; name: string } | undefined
  scopes: readonly string[]
  /** Of a visitor of the inspector, who may only read. */
  session?: { endsAt: Date; secretSha256: Uint8Array }
}

export type Verb = 'upload' | 'get' | 'list'

export const NOBODY: Principal = { token: undefined, scopes: [] }

/** Whom requests count for, where all of one caller are counted: the token, or everybody without one. */
export function nameCaller({ token }: Principal): string {
  return token?.id ?? 'anyone'
}

/** Whether the caller may do everything. */
export function isAdmin(principal: Principal): boolean {
  return principal.scopes.includes('admin')
}

/** Whether any scope covers `verb` on this very name. */
export function isAllowed(principal: Principal, verb: Verb, task: string, name: string): boolean {
  return (
    isAdmin(principal) ||
    scopesFor(principal, verb).some(
      (scope) => matchesGlob(scope.task, task) && matchesGlob(scope.name, name),
    )
  )
}

/** Whether any scope covers `verb` on some name of the task. */
export function isAllowedSomewhere(principal: Principal, verb: Verb, task: string): boolean {
  return (
    isAdmin(principal) || scopesFor(principal, verb).some((scope) => matchesGlob(scope.task, task))
  )
}

/** Whether a scope covers `verb` on every name of the task. */
export function isAllowedInAll(principal: Principal, verb: Verb, task: string): boolean {
  const isWhole = (scope: { task: string; name: string }) =>
    scope.name === '**' && matchesGlob(scope.task, task)
  return isAdmin(principal) || scopesFor(principal, verb).some(isWhole)
}

/** Whether a scope covers `verb` on every name of every task. */
export function isAllowedEverywhere(principal: Principal, verb: Verb): boolean {
  return isAdmin(principal) || principal.scopes.includes(`${verb}:*/**`)
}

/** Throws `forbidden` unless the principal may write this name. */
export function checkMayUpload(principal: Principal, task: string, name: string): void {
  if (isAllowed(principal, 'upload', task, name)) return
  throw new ArtifactError('forbidden', `Cannot upload ${task}/${name}: no scope covers it`, {
    expected: `upload:${task}/${name}`,
    found: describeScopes(principal),
  })
}

/** Throws `forbidden` unless the principal administers the service. */
export function checkIsAdmin(principal: Principal): void {
  if (isAdmin(principal)) return
  throw new ArtifactError(
    'forbidden',
    'Cannot do what an admin does: the token is not an admin token',
    {
      expected: 'admin',
      found: describeScopes(principal),
    },
  )
}

/**
 * Whether `text` matches `glob`: `*` stands for any characters but `/`, `**` for any at all.
 *
 * Tracks which prefixes of the text are reachable instead of trying and going back, so the work is
 * at most `glob.length * text.length` steps, whatever a client sends.
 */
export function matchesGlob(glob: string, text: string): boolean {
  const tokens = glob.match(/\*\*|\*|[^*]/gsu) ?? []
  const characters = Array.from(text)
  // reachable[i]: the tokens so far match the first i characters.
  let reachable = [true, ...characters.map(() => false)]
  for (const token of tokens) {
    const next = characters.map(() => false)
    next.unshift(token !== '*' && token !== '**' ? false : reachable[0] === true)
    for (const [index, character] of characters.entries()) {
      next[index + 1] =
        token === '**'
          ? reachable[index + 1] === true || next[index] === true
          : token === '*'
            ? reachable[index + 1] === true || (next[index] === true && character !== '/')
            : reachable[index] === true && character === token
    }
    reachable = next
  }
  return reachable[characters.length] === true
}

function scopesFor(principal: Principal, verb: Verb) {
  const start = `${verb}:`
  return principal.scopes
    .filter((scope) => scope.startsWith(start))
    .map((scope) => {
      const slash = scope.indexOf('/')
      return { task: scope.slice(start.length, slash), name: scope.slice(slash + 1) }
    })
}

/** The scopes as an error shows them. */
export function describeScopes(principal: Principal): string {
  return principal.token === undefined ? 'no token' : principal.scopes.join(' ')
}
