/**
 * The library: what the command line does, for programs.
 *
 *     import { connect, upload, get } from 'artifact-integrity/client'
 *
 *     await using server = connect({ url: 'http://127.0.0.1:8080', token })
 *     const { artifact } = await upload(server, { file: 'db.dump' }, { task: 'turtle-db' })
 *     await get(server, artifact, { output: 'copy.dump' })
 *
 * Everything that goes wrong is an `ArtifactError` with a closed `code`.
 */
export type { Artifact, Part } from '../schemas/artifact.ts'
export type { Event } from '../schemas/event.ts'
export { ArtifactError, type ProblemCode } from '../schemas/problems.ts'
export {
  type CallInput,
  type CallOptions,
  type CallReply,
  call,
  type EndpointName,
  readChecksums,
} from './api.ts'
export {
  type Connection,
  type ConnectOptions,
  connect,
  type ProxyOptions,
  type Timing,
} from './transfer/connection.ts'
export { get } from './transfer/get.ts'
export type { GetOptions, GetReference, GetResult } from './transfer/get-options.ts'
export { type GetRunOptions, type GetRunResult, getRun } from './transfer/get-run.ts'
export type { OnProgress, TransferProgress } from './transfer/progress.ts'
export { upload } from './transfer/upload.ts'
export {
  type FailedFile,
  type UploadAllOptions,
  type UploadAllResult,
  type UploadEntry,
  uploadAll,
} from './transfer/upload-all.ts'
export type {
  UploadOptions,
  UploadResult,
  UploadSource,
  UploadTarget,
} from './transfer/upload-job.ts'
export {
  type VerifyFileOptions,
  type VerifyFileResult,
  verifyFile,
} from './transfer/verify-file.ts'
export {
  type VerifyReceiptOptions,
  type VerifyReceiptResult,
  verifyFileReceipt,
} from './transfer/verify-receipt.ts'
export { type GivenPolicy, readGivenPolicy } from './trust/given-policy.ts'
export type { Anchor, TrustNotice } from './trust/history.ts'
export { type KnownLogs, openKnownLogs } from './trust/known-logs.ts'
export { type LockFile, type Pin, parseLock } from './trust/lock-file.ts'
export {
  openTrust,
  type Trust,
  type TrustOptions,
  type Voucher,
  type VouchOptions,
} from './trust/trust.ts'
export type { Check, LogCheck } from './verify/verifier.ts'
export { watch } from './watch.ts'
