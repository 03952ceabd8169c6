import { z } from 'zod'
import { Actor, Artifact, Part } from './artifact.ts'
import { Consistency, Since } from './log-question.ts'
import { page } from './pages.ts'
import {
  ArtifactName,
  ByteCount,
  ContentType,
  Instant,
  Labels,
  PARTS_MAX,
  PartNumber,
  PartSizeBytes,
  RunNumber,
  SealPolicy,
  Sha256,
  TaskName,
  UploadId,
} from './primitives.ts'
import { Problem } from './problem-document.ts'

/** Most grants in one request. */
export const GRANTS_MAX = 100

/** One signed HTTP request that the server hands out. It moves bytes once, and soon expires. */
export const Grant = z
  .object({
    method: z.enum(['GET', 'PUT']),
    /** Absolute, or relative to the server's own address. */
    url: z.string(),
    /** To be sent exactly as given; they are part of the signature. */
    headers: z.record(z.string(), z.string()),
    expiresAt: Instant,
  })
  .meta({ id: 'Grant' })
export type Grant = z.infer<typeof Grant>

export const PartGrant = Grant.extend({ number: PartNumber }).meta({ id: 'PartGrant' })
export type PartGrant = z.infer<typeof PartGrant>

/** How far an upload is, as its client says. */
export const Progress = z
  .object({
    bytes: ByteCount,
    /** `null` while the size is not known. */
    totalBytes: ByteCount.nullable(),
    /** 1 for the first try, one more after every restart. */
    attempt: z.int().min(1).max(1_000_000),
    at: Instant,
    /** When the present attempt began; absent for the first. */
    restartedAt: Instant.optional(),
  })
  .meta({ id: 'Progress' })
export type Progress = z.infer<typeof Progress>

const uploadBase = z.object({
  id: UploadId,
  task: TaskName,
  run: RunNumber,
  name: ArtifactName,
  reference: z.string(),
  /** As declared at the opening; `null` when not known then. */
  sizeBytes: ByteCount.nullable(),
  sha256: Sha256.nullable(),
  partSizeBytes: PartSizeBytes,
  contentType: ContentType,
  labels: Labels,
  policy: SealPolicy,
  progress: Progress,
  openedAt: Instant,
  openedBy: Actor,
  /** Last sign of life: a grant, progress, a seal. */
  movedAt: Instant,
  /** When an open upload is swept. */
  expiresAt: Instant,
})

/**
 * The mutable session from which an artifact may come.
 *
 *     open -> verifying -> sealed | failed
 *     open -> aborted | expired
 */
export const Upload = z
  .discriminatedUnion('state', [
    uploadBase.extend({ state: z.literal('open') }),
    uploadBase.extend({
      state: z.literal('verifying'),
      /** Bytes that the server has read and hashed so far. */
      verifiedBytes: ByteCount,
    }),
    uploadBase.extend({
      state: z.literal('sealed'),
      artifact: Artifact,
      /** C2SP tlog-proof; only in the reply to a seal, of a server that has a log. */
      receipt: z.string().optional(),
      /** From the head that was asked about to that of the receipt. */
      consistency: Consistency,
    }),
    uploadBase.extend({ state: z.literal('failed'), problem: Problem }),
    uploadBase.extend({ state: z.literal('aborted') }),
    uploadBase.extend({ state: z.literal('expired') }),
  ])
  .meta({ id: 'Upload' })
export type Upload = z.infer<typeof Upload>
export type UploadState = Upload['state']

/** What a client says when it opens an upload. The same id with the same words is the same upload. */
export const OpenUpload = z
  .strictObject({
    id: UploadId,
    task: TaskName,
    /** Absent: the run that `requestId` allots. */
    run: RunNumber.optional(),
    /** Allots the next run of the task; the same id allots the same run. */
    requestId: z.uuid().optional(),
    name: ArtifactName,
    sizeBytes: ByteCount.nullable().default(null),
    sha256: Sha256.nullable().default(null),
    contentType: ContentType.default('application/octet-stream'),
    labels: Labels.default({}),
    /** Absent: what the server is set to. */
    policy: SealPolicy.optional(),
    /** Parts that the client already knows, to save a request: their grants come with the reply. */
    parts: z.array(Part).max(GRANTS_MAX).default([]),
  })
  .refine(({ run, requestId }) => (run === undefined) !== (requestId === undefined), {
    error: 'expected either a run or a requestId that allots one',
    path: ['requestId'],
  })
  .meta({ id: 'OpenUpload' })
export type OpenUpload = z.infer<typeof OpenUpload>

/** The same with the run that it was given. */
export type PlacedUpload = OpenUpload & { run: number }

/** Either there is nothing to do, or here is how to go on. */
export const OpenedUpload = z
  .discriminatedUnion('outcome', [
    z.object({
      /** The very content is sealed under this name already. */
      outcome: z.literal('already-sealed'),
      artifact: Artifact,
    }),
    z.object({ outcome: z.literal('open'), upload: Upload, grants: z.array(PartGrant) }),
  ])
  .meta({ id: 'OpenedUpload' })
export type OpenedUpload = z.infer<typeof OpenedUpload>

export const UploadWithParts = z
  .object({
    upload: Upload,
    /** Parts that the store holds, in order; each was checked against its digest when it came in. */
    parts: z.array(Part),
  })
  .meta({ id: 'UploadWithParts' })
export type UploadWithParts = z.infer<typeof UploadWithParts>

export const RequestGrants = z
  .strictObject({ parts: z.array(Part).min(1).max(GRANTS_MAX) })
  .meta({ id: 'RequestGrants' })
export type RequestGrants = z.infer<typeof RequestGrants>

export const Grants = z.object({ grants: z.array(PartGrant) }).meta({ id: 'Grants' })
export type Grants = z.infer<typeof Grants>

export const ReportProgress = z
  .strictObject({
    bytes: ByteCount,
    totalBytes: ByteCount.nullable(),
    attempt: z.int().min(1).max(1_000_000),
  })
  .meta({ id: 'ReportProgress' })
export type ReportProgress = z.infer<typeof ReportProgress>

/** The claim that the server checks before it seals. */
export const SealUpload = z
  .strictObject({
    sha256: Sha256,
    sizeBytes: ByteCount,
    /** All parts in order; empty for an empty artifact. */
    parts: z.array(Part).max(PARTS_MAX),
    /** Wait for the receipt, too. */
    receipt: z.boolean().default(true),
    since: Since,
  })
  .meta({ id: 'SealUpload' })
export type SealUpload = z.infer<typeof SealUpload>

export const UploadPage = page('UploadPage', Upload)
export type UploadPage = z.infer<typeof UploadPage>
