import type { TypedDocumentNode } from "@graphql-typed-document-node/core";

export type DocumentNodeAnswer<D> = D extends TypedDocumentNode<infer Answer, infer _> ? Answer : never;
