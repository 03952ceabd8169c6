/**
 * What a row needs to know of an upload: small enough to travel with the page, and enough to write every
 * word of the row again while time goes by.
 */

/**
 * @typedef {object} UploadFacts
 * @property {string} id
 * @property {string} task
 * @property {number} run
 * @property {string} name
 * @property {'open' | 'verifying' | 'sealed' | 'failed' | 'aborted' | 'expired' | 'unknown'} state
 *   `unknown`: it ended while this page was not connected.
 * @property {string} bytes Sent, decimal.
 * @property {string | null} totalBytes `null` while the size is not known.
 * @property {string} verifiedBytes Read back and hashed, decimal.
 * @property {number} attempt
 * @property {string | null} restartedAt When the present attempt began, if it is not the first.
 * @property {string} progressAt When the client last said how far it is.
 * @property {string} openedAt
 * @property {string} movedAt
 * @property {string} who
 * @property {string | null} sha256 Of a sealed one.
 * @property {{ code: string, title: string, detail: string, expected: string | null, found: string | null } | null} problem
 *   Of a failed one.
 */

/** @typedef {import('../../../schemas/upload.ts').Upload} Upload */

/**
 * @param {Upload} upload
 * @returns {UploadFacts}
 */
export function pickFacts(upload) {
  const { progress } = upload
  const total = progress.totalBytes ?? upload.sizeBytes
  return {
    id: upload.id,
    task: upload.task,
    run: upload.run,
    name: upload.name,
    state: upload.state,
    bytes: upload.state === 'sealed' ? upload.artifact.sizeBytes : progress.bytes,
    totalBytes: upload.state === 'sealed' ? upload.artifact.sizeBytes : total,
    verifiedBytes: upload.state === 'verifying' ? upload.verifiedBytes : '0',
    attempt: progress.attempt,
    restartedAt: progress.restartedAt ?? null,
    progressAt: progress.at,
    openedAt: upload.openedAt,
    movedAt: upload.movedAt,
    who: upload.openedBy.tokenName,
    sha256: upload.state === 'sealed' ? upload.artifact.sha256 : null,
    problem: upload.state === 'failed' ? pickProblem(upload.problem) : null,
  }
}

/**
 * @param {import('../../../schemas/problem-document.ts').Problem} problem
 * @returns {UploadFacts['problem']}
 */
function pickProblem({ code, title, detail, expected, found }) {
  return { code, title, detail, expected: expected ?? null, found: found ?? null }
}
