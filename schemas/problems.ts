/**
 * Everything that can go wrong, as one table: code -> HTTP status -> exit code -> retryable -> hint.
 *
 * The server sends a code as an RFC 9457 problem document, the client turns it back into the same
 * error, and the command line derives its exit code from here alone. Nothing is imported: every start
 * of the program loads this file.
 */
/** Exit codes of `artifact`; a script may rely on them. An unknown one is a failure. */
export const EXITS = {
  done: 0,
  unexpected: 1,
  usage: 2,
  integrity: 3,
  notAllowed: 4,
  notFound: 5,
  conflict: 6,
  unreachable: 7,
  refused: 8,
  partly: 9,
  locked: 75,
  interrupted: 130,
  terminated: 143,
} as const

export interface ProblemRow {
  /** HTTP status; `null` for what only a client can meet. */
  status: number | null
  exit: number
  /** Whether the same request may succeed later, unchanged. */
  retryable: boolean
  /** Short and fixed, RFC 9457 `title`. */
  title: string
  /** What to do about it. */
  hint: string
}

const row = (
  status: number | null,
  exit: keyof typeof EXITS,
  retryable: 'retry' | 'final',
  title: string,
  hint: string,
): ProblemRow => ({ status, exit: EXITS[exit], retryable: retryable === 'retry', title, hint })

/** The one table. Codes are never reused for another meaning. */
// biome-ignore format: a row a line reads as a table
export const PROBLEMS = {
  // What a client sent.
  invalid_request: row(400, 'usage', 'final', 'The request is not valid', 'Correct the fields named in "errors".'),
  body_too_large: row(413, 'usage', 'final', 'The request body is too large', 'Send less in one request.'),
  unauthenticated: row(401, 'notAllowed', 'final', 'A valid token is needed', 'Set ARTIFACT_TOKEN or ARTIFACT_TOKEN_FILE; the token may have expired or been revoked.'),
  forbidden: row(403, 'notAllowed', 'final', 'The token does not allow this', 'Ask for a token whose scopes cover it (artifact token create).'),
  not_found: row(404, 'notFound', 'final', 'There is no such thing, or it is not yours to see', 'Check the reference and the scopes of the token.'),
  method_not_allowed: row(405, 'usage', 'final', 'The address does not take this method', 'See /openapi.json.'),
  range_not_satisfiable: row(416, 'usage', 'final', 'The range lies outside the artifact', 'Ask for a range within its size.'),
  limit_exceeded: row(422, 'refused', 'final', 'A limit of the server is exceeded', 'Stay within the limit, or ask its operator to raise it.'),
  too_many_uploads: row(429, 'unreachable', 'retry', 'Too many uploads are open for this token', 'Finish or abort some (artifact abort), or wait until they expire.'),
  too_many_attempts: row(429, 'notAllowed', 'retry', 'Too many attempts to sign in have failed', 'Wait a little, then try again with a valid token.'),

  // Conflicts with what is recorded.
  already_sealed: row(409, 'conflict', 'final', 'The name is sealed with other content', 'A name is bound once. Upload under another name or into a new run.'),
  upload_conflict: row(409, 'conflict', 'final', 'The upload id is in use for something else', 'Choose a new upload id.'),
  upload_ended: row(409, 'conflict', 'final', 'The upload has ended', 'Open a new upload; the name is still free.'),
  part_conflict: row(409, 'conflict', 'final', 'The part is bound to another digest', 'The source changed since the upload began. Abort it and begin anew.'),
  runs_exhausted: row(409, 'conflict', 'final', 'The task has no further run number', 'Use another task.'),

  // Integrity: what the bytes say and what was claimed do not agree.
  digest_mismatch: row(422, 'integrity', 'final', 'The SHA-256 differs', 'Nothing was kept. Find out who changed the bytes before you try again.'),
  size_mismatch: row(422, 'integrity', 'final', 'The size differs', 'Nothing was kept. Find out who changed the bytes before you try again.'),
  part_mismatch: row(422, 'integrity', 'final', 'A part differs', 'Nothing was kept. Find out who changed the bytes before you try again.'),
  part_missing: row(422, 'integrity', 'final', 'A part is missing', 'Send the missing parts, then seal again.'),
  precondition_failed: row(412, 'integrity', 'final', 'The stored object is not the one that was sealed', 'Tell the operator: the store was changed behind the record.'),
  blob_missing: row(502, 'integrity', 'final', 'The store has lost the bytes of a sealed artifact', 'Tell the operator: the record stands, the bytes are gone from where they were.'),

  // The transparency log.
  artifact_revoked: row(410, 'refused', 'final', 'The artifact was revoked', 'Do not use it; the reason is in the log.'),
  artifact_removed: row(410, 'notFound', 'final', 'The bytes of the artifact were removed', 'The record stands; the reason is in the log.'),
  log_absent: row(
    404,
    'notFound',
    'final',
    'There is no signed log',
    'Its operator has to start a signer (artifact signer).',
  ),
  receipt_pending: row(
    503,
    'unreachable',
    'retry',
    'The receipt is not signed yet',
    'Try again a little later; if it stays so, the signer has stopped: ask the operator why.',
  ),
  log_inclusion: row(
    502,
    'integrity',
    'final',
    'The proof does not lead to the root of the log',
    'Trust neither the record nor the bytes, and tell those who run the log.',
  ),
  log_signature: row(
    null,
    'integrity',
    'final',
    'The checkpoint is not signed by the key of the log',
    'Check the pinned key (--log-key, ARTIFACT_LOG_KEY); if it is right, somebody else answers.',
  ),
  log_fork: row(
    null,
    'integrity',
    'final',
    'Two signed heads of the log do not agree',
    'Keep the evidence and show it to others: the log showed two histories.',
  ),
  log_rollback: row(
    null,
    'integrity',
    'final',
    'The log is older than it was',
    'Find out whether the server was restored or is being impersonated.',
  ),
  log_record: row(
    null,
    'integrity',
    'final',
    'The record and its leaf in the log differ',
    'Tell those who run the server: the record was changed after it was logged.',
  ),
  log_missing: row(
    null,
    'integrity',
    'final',
    'A proof or checkpoint that must be there is not',
    'Ask again later; if it stays away, take it as withheld.',
  ),
  log_policy: row(
    null,
    'integrity',
    'final',
    'The checkpoint has too few cosignatures',
    'Wait until the witnesses of the policy have cosigned, or find out why they do not.',
  ),
  log_malformed: row(
    null,
    'integrity',
    'final',
    'What the log sent is not well-formed',
    'Compare the versions of client and server; if they agree, somebody altered it.',
  ),

  // Lock files.
  not_pinned: row(
    null,
    'refused',
    'final',
    'The lock file does not have the artifact',
    'Pin it first (artifact lock add), or get it without the lock file.',
  ),

  // Grants.
  grant_invalid: row(403, 'notAllowed', 'final', 'The grant is not valid for this request', 'Send the request exactly as it was granted.'),
  grant_expired: row(403, 'notAllowed', 'retry', 'The grant has expired', 'Ask for a new grant.'),
  part_busy: row(409, 'locked', 'retry', 'The part is being received right now', 'Wait for the other request to end.'),

  // Weather.
  overloaded: row(503, 'unreachable', 'retry', 'The server is busy', 'Try again a little later.'),
  store_unavailable: row(503, 'unreachable', 'retry', 'The store does not answer', 'Try again a little later.'),
  database_unavailable: row(503, 'unreachable', 'retry', 'The database does not answer', 'Try again a little later.'),
  storage_full: row(507, 'unreachable', 'final', 'The store has no room left', 'Make room in the store, then run the same command again.'),
  internal: row(500, 'unexpected', 'retry', 'The server failed', 'Report it with the request id; the log of the server has more.'),

  // What only a client or an operator meets.
  usage: row(null, 'usage', 'final', 'The command line is not valid', 'See artifact --help.'),
  configuration: row(null, 'usage', 'final', 'The configuration is not valid', 'See artifact serve --help.'),
  unreachable: row(null, 'unreachable', 'retry', 'The server cannot be reached', 'Check the address (--url, ARTIFACT_URL) and that the server runs.'),
  local_io: row(null, 'usage', 'final', 'A local file or folder cannot be used', 'Check that it exists, its permissions and the free space.'),
  source_changed: row(null, 'refused', 'final', 'The file changed while it was read', 'Upload a copy that nothing writes to.'),
  command_failed: row(null, 'refused', 'final', 'The command that makes the data failed', 'Nothing was sealed. Mend the command and run it again.'),
  target_exists: row(null, 'refused', 'final', 'The target exists already', 'Use --force to replace it, or choose another with -o.'),
  unsafe_path: row(null, 'refused', 'final', 'The path is not safe to write or read', 'Choose another target, or follow links on purpose with --follow-links.'),
  bad_reply: row(null, 'integrity', 'final', 'The server sent what it should not', 'Compare the versions of client and server (artifact --version).'),
  privileges: row(null, 'refused', 'final', 'The database role could rewrite history', 'Run artifact serve --print-roles-sql and give the server the runtime role.'),
  store_unfit: row(null, 'refused', 'final', 'The store accepts what it must refuse', 'Use a store that checks signatures and x-amz-content-sha256.'),
  partly_done: row(null, 'partly', 'final', 'Only some of it was done', 'Run the same command again; what is done stays done.'),
  locked: row(null, 'locked', 'retry', 'Someone else holds the lock', 'Wait for the other process to end.'),
  interrupted: row(null, 'interrupted', 'retry', 'Interrupted', 'Run the same command again to go on where it stopped.'),
} as const satisfies Record<string, ProblemRow>

export type ProblemCode = keyof typeof PROBLEMS
// tidy: cast - the keys of a constant are its codes, and there is one
export const PROBLEM_CODES = Object.keys(PROBLEMS).filter(
  (code): code is ProblemCode => code in PROBLEMS,
)

/** One field that was not accepted. */
export interface FieldFault {
  /** JSON path or the name of a parameter, for example `parts.3.sha256`. */
  field: string
  expected: string
  /** Shortened; absent when nothing was there. */
  found?: string | undefined
}

export interface ProblemValues {
  /** What was wanted, as a person reads it. */
  expected?: string | undefined
  /** What was there instead. */
  found?: string | undefined
  errors?: FieldFault[] | undefined
  requestId?: string | undefined
  /** Seconds after which a retry makes sense. */
  retryAfterSeconds?: number | undefined
  cause?: unknown
}

/**
 * The error of this project, on both sides of the wire. `message` reads
 * "Cannot <verb> <thing>: <state>" and never holds a secret.
 */
export class ArtifactError extends Error {
  override readonly name = 'ArtifactError'
  readonly code: ProblemCode
  readonly expected: string | undefined
  readonly found: string | undefined
  readonly errors: FieldFault[] | undefined
  readonly requestId: string | undefined
  readonly retryAfterSeconds: number | undefined

  constructor(code: ProblemCode, message: string, values: ProblemValues = {}) {
    super(message, values.cause === undefined ? undefined : { cause: values.cause })
    this.code = code
    this.expected = values.expected
    this.found = values.found
    this.errors = values.errors
    this.requestId = values.requestId
    this.retryAfterSeconds = values.retryAfterSeconds
  }

  get row(): ProblemRow {
    return PROBLEMS[this.code]
  }
}
