/** Endpoints that tell what is recorded about one artifact. See `api.ts`. */

import { z } from 'zod'
import { Artifact, ArtifactParts } from './artifact.ts'
import type { Endpoint } from './endpoint.ts'
import { atName, Limit } from './parameters.ts'
import { Instant } from './primitives.ts'
import { VerificationPage } from './verification.ts'

export const artifactEndpoints = {
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
} as const satisfies Record<string, Endpoint>
