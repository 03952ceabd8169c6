/**
 * Every endpoint as data. The server mounts from this table, the client calls from it, and
 * `/openapi.json` is made from it, so the three cannot disagree.
 *
 * A name in a path is one segment: its slashes are sent as `%2F`. The content address also takes
 * them as they are, so that `curl -L …/content/logs/build.txt` works.
 */
import { z } from 'zod'
import { AllotRun, Artifact, ArtifactParts, Run } from './artifact.ts'
import { SealBatch, SealedBatch } from './batch.ts'
import { Contents, GetContents } from './contents.ts'
import type { Endpoint } from './endpoint.ts'
import { LogInfo } from './log.ts'
import {
  ArtifactPage,
  RunPage,
  TaskPage,
  TokenPage,
  UploadPage,
  VerificationPage,
} from './pages.ts'
import { atName, inRun, inTask, Limit, NamePart, ofUpload, RunText } from './parameters.ts'
import { Instant, TaskName, UploadId } from './primitives.ts'
import { SignInLink } from './sign-in.ts'
import { MakeStatement, Statement, Statements } from './statement.ts'
import { CreatedToken, CreateToken, Token } from './token.ts'
import {
  Grant,
  Grants,
  OpenedUpload,
  OpenUpload,
  Progress,
  ReportProgress,
  RequestGrants,
  SealUpload,
  Upload,
  UploadWithParts,
} from './upload.ts'

/** What a seal can find, and what is found again when a failed upload is asked for. */
const sealing = [
  'digest_mismatch',
  'size_mismatch',
  'part_mismatch',
  'part_missing',
  'precondition_failed',
  'blob_missing',
] as const
/** Whatever begins an object in the store. */
const storing = ['store_unavailable', 'storage_full'] as const

export const endpoints = {
  openUpload: {
    method: 'POST',
    path: '/v1/uploads',
    summary: 'Open an upload; the same id with the same words is the same upload',
    access: 'upload',
    body: OpenUpload,
    replies: { 200: OpenedUpload, 201: OpenedUpload },
    errors: [
      'forbidden',
      'already_sealed',
      'upload_conflict',
      'upload_ended',
      'part_conflict',
      'limit_exceeded',
      'too_many_uploads',
      ...sealing,
      ...storing,
    ],
  },
  listUploads: {
    method: 'GET',
    path: '/v1/uploads',
    summary: 'Uploads, the latest opened first',
    access: 'list',
    query: z.strictObject({
      state: z
        .enum(['open', 'verifying', 'sealed', 'failed', 'aborted', 'expired', 'active'])
        .default('active')
        .meta({ description: '`active` is open and verifying' }),
      task: TaskName.optional(),
      after: z.string().max(100).optional(),
      limit: Limit,
    }),
    replies: { 200: UploadPage },
    errors: [],
  },
  getUpload: {
    method: 'GET',
    path: '/v1/uploads/:id',
    summary: 'State of an upload, and the parts that the store holds',
    access: 'upload',
    params: ofUpload,
    replies: { 200: UploadWithParts },
    errors: ['not_found', 'store_unavailable', 'storage_full'],
  },
  abortUpload: {
    method: 'DELETE',
    path: '/v1/uploads/:id',
    summary: 'Abort an upload; its name stays free',
    access: 'upload',
    params: ofUpload,
    replies: { 200: Upload },
    errors: ['not_found', 'upload_ended'],
  },
  requestGrants: {
    method: 'POST',
    path: '/v1/uploads/:id/grants',
    summary: 'Signed requests for some parts; the first one binds the digest of a part',
    access: 'upload',
    params: ofUpload,
    body: RequestGrants,
    replies: { 200: Grants },
    errors: [
      'not_found',
      'upload_ended',
      'part_conflict',
      'limit_exceeded',
      'size_mismatch',
      ...storing,
    ],
  },
  reportProgress: {
    method: 'PUT',
    path: '/v1/uploads/:id/progress',
    summary: 'Say how far the upload is, at most once a second',
    access: 'upload',
    params: ofUpload,
    body: ReportProgress,
    replies: { 200: Progress },
    errors: ['not_found', 'upload_ended'],
  },
  sealUpload: {
    method: 'POST',
    path: '/v1/uploads/:id/seal',
    summary: 'Turn the upload into an artifact; repeat it while the answer is 202',
    access: 'upload',
    params: ofUpload,
    body: SealUpload,
    replies: { 200: Upload, 202: Upload },
    errors: [
      'not_found',
      'already_sealed',
      'upload_ended',
      'upload_conflict',
      ...sealing,
      ...storing,
    ],
  },
  sealBatch: {
    method: 'POST',
    path: '/v1/artifacts',
    summary: 'Seal many small artifacts at once; each is sealed or refused by itself',
    access: 'upload',
    body: SealBatch,
    replies: { 200: SealedBatch },
    errors: ['limit_exceeded', 'store_unavailable'],
  },
  listTasks: {
    method: 'GET',
    path: '/v1/tasks',
    summary: 'Tasks by name',
    access: 'list',
    query: z.strictObject({
      prefix: NamePart.max(128).optional(),
      after: NamePart.max(128).optional(),
      limit: Limit,
    }),
    replies: { 200: TaskPage },
    errors: [],
  },
  listRuns: {
    method: 'GET',
    path: '/v1/tasks/:task/runs',
    summary: 'Runs of a task, the latest first',
    access: 'list',
    params: inTask,
    query: z.strictObject({ after: RunText.optional(), limit: Limit }),
    replies: { 200: RunPage },
    errors: ['not_found'],
  },
  allotRun: {
    method: 'POST',
    path: '/v1/tasks/:task/runs',
    summary: 'Allot the next run',
    access: 'upload',
    params: inTask,
    body: AllotRun,
    replies: { 200: Run, 201: Run },
    errors: ['forbidden', 'runs_exhausted', 'upload_conflict'],
  },
  listArtifacts: {
    method: 'GET',
    path: '/v1/tasks/:task/runs/:run/artifacts',
    summary: 'Sealed artifacts of a run, by name',
    access: 'list',
    params: inRun,
    query: z.strictObject({
      prefix: NamePart.max(512).optional(),
      after: NamePart.max(512).optional(),
      limit: Limit,
    }),
    replies: { 200: ArtifactPage },
    errors: ['not_found'],
  },
  getArtifact: {
    method: 'GET',
    path: '/v1/tasks/:task/runs/:run/artifacts/:name',
    summary: 'The record of an artifact',
    access: 'get',
    session: true,
    params: atName,
    replies: { 200: Artifact },
    errors: ['not_found'],
  },
  getArtifactParts: {
    method: 'GET',
    path: '/v1/tasks/:task/runs/:run/artifacts/:name/parts',
    summary: 'The part digests of an artifact',
    access: 'get',
    session: true,
    params: atName,
    replies: { 200: ArtifactParts },
    errors: ['not_found'],
  },
  getReceipt: {
    method: 'GET',
    path: '/v1/tasks/:task/runs/:run/artifacts/:name/receipt',
    summary:
      'The proof that an artifact is in the log, as C2SP tlog-proof; waits for the signer a little',
    access: 'get',
    session: true,
    params: atName,
    replies: {},
    otherReplies: {
      200: { description: 'The receipt', contentType: 'text/plain; charset=utf-8' },
    },
    errors: ['not_found', 'log_absent', 'receipt_pending', 'log_inclusion'],
  },
  getStatements: {
    method: 'GET',
    path: '/v1/tasks/:task/runs/:run/artifacts/:name/statements',
    summary: 'What was said about an artifact after it was sealed',
    access: 'get',
    session: true,
    params: atName,
    replies: { 200: Statements },
    errors: ['not_found'],
  },
  listVerifications: {
    method: 'GET',
    path: '/v1/tasks/:task/runs/:run/artifacts/:name/verifications',
    summary: 'When the stored bytes were read again, and what was found; the latest first',
    access: 'get',
    session: true,
    params: atName,
    query: z.strictObject({ after: Instant.optional(), limit: Limit }),
    replies: { 200: VerificationPage },
    errors: ['not_found'],
  },
  makeStatement: {
    method: 'POST',
    path: '/v1/tasks/:task/runs/:run/artifacts/:name/statements',
    summary: 'Revoke an artifact, or remove its bytes; a leaf of the log either way',
    access: 'admin',
    params: atName,
    body: MakeStatement,
    replies: { 201: Statement },
    errors: ['forbidden', 'not_found', 'store_unavailable'],
  },
  getLog: {
    method: 'GET',
    path: '/v1/log',
    summary: 'Which transparency log this server has',
    access: 'anyone',
    replies: { 200: LogInfo },
    errors: ['log_absent'],
  },
  getContent: {
    method: 'GET',
    path: '/v1/tasks/:task/runs/:run/content/:name',
    summary: 'A grant for the bytes: as JSON when asked for, else as a redirect',
    access: 'get',
    session: true,
    params: atName,
    replies: { 200: Grant },
    otherReplies: { 303: { description: 'Redirect to the bytes, with Repr-Digest (RFC 9530)' } },
    errors: [
      'not_found',
      'artifact_revoked',
      'artifact_removed',
      'blob_missing',
      'precondition_failed',
      'store_unavailable',
    ],
  },
  getContents: {
    method: 'POST',
    path: '/v1/tasks/:task/runs/:run/contents',
    summary: 'Many small artifacts of a run at once: receipts, and bytes or grants',
    access: 'get',
    params: inTask.extend({ run: RunText }),
    body: GetContents,
    replies: { 200: Contents },
    errors: ['store_unavailable'],
  },
  getChecksums: {
    method: 'GET',
    path: '/v1/tasks/:task/runs/:run/SHA256SUMS',
    summary: 'Checksums of a run as sha256sum -c reads them, from the record',
    access: 'list',
    params: inRun,
    replies: {},
    otherReplies: {
      200: { description: 'One line per artifact', contentType: 'text/plain; charset=utf-8' },
    },
    errors: ['not_found'],
  },
  watchEvents: {
    method: 'GET',
    path: '/v1/events',
    summary: 'Server-sent events: what the uploads do; Last-Event-ID goes on without gap or double',
    access: 'list',
    session: true,
    query: z.strictObject({
      task: TaskName.optional(),
      run: RunText.optional(),
      upload: UploadId.optional(),
      after: z
        .string()
        .regex(/^[0-9]{1,19}$/)
        .optional()
        .meta({
          description:
            'Event id to go on after; without it, the present state of every active upload comes first',
        }),
    }),
    replies: {},
    otherReplies: {
      200: {
        description:
          'Events, by their name: upload (schema Event), reset (Reset: a picture replaced what was asked for), beat (Beat, every ten seconds). Pass over names that you do not know.',
        contentType: 'text/event-stream',
      },
    },
    errors: ['not_found', 'overloaded'],
  },
  makeSignInLink: {
    method: 'POST',
    path: '/v1/sign-in-links',
    summary:
      'Make a link that signs a browser in to the inspector, once, to read what the token reads',
    access: 'token',
    replies: { 201: SignInLink },
    errors: ['forbidden'],
  },
  createToken: {
    method: 'POST',
    path: '/v1/tokens',
    summary: 'Make a token; its secret is shown this once',
    access: 'admin',
    body: CreateToken,
    replies: { 201: CreatedToken },
    errors: ['forbidden'],
  },
  listTokens: {
    method: 'GET',
    path: '/v1/tokens',
    summary: 'Tokens, without their secrets',
    access: 'admin',
    query: z.strictObject({ after: z.uuid().optional(), limit: Limit }),
    replies: { 200: TokenPage },
    errors: ['forbidden'],
  },
  revokeToken: {
    method: 'DELETE',
    path: '/v1/tokens/:id',
    summary: 'Revoke a token, at once and for good',
    access: 'admin',
    params: z.object({ id: z.uuid() }),
    replies: { 200: Token },
    errors: ['forbidden', 'not_found'],
  },
} as const satisfies Record<string, Endpoint>

export type Endpoints = typeof endpoints
