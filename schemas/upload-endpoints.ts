/** Endpoints that upload and seal, and tell of it. See `api.ts`. */

import { z } from 'zod'
import { SealBatch, SealedBatch } from './batch.ts'
import type { Endpoint } from './endpoint.ts'
import { Limit, ofUpload, RunText } from './parameters.ts'
import { TaskName, UploadId } from './primitives.ts'
import {
  Grants,
  OpenedUpload,
  OpenUpload,
  Progress,
  ReportProgress,
  RequestGrants,
  SealUpload,
  Upload,
  UploadPage,
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

export const uploadEndpoints = {
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
} as const satisfies Record<string, Endpoint>
