/** A check that was made, by name. */
export type Check = 'record' | 'size' | 'parts' | 'sha256'
