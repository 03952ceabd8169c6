/** Endpoints that let somebody in. See `api.ts`. */

import { z } from 'zod'
import type { Endpoint } from './endpoint.ts'
import { Limit } from './parameters.ts'
import { SignInLink } from './sign-in.ts'
import { CreatedToken, CreateToken, Token, TokenPage } from './token.ts'

export const tokenEndpoints = {
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
