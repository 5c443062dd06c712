import type { CodegenConfig } from "@graphql-codegen/cli";

const config: CodegenConfig = {
  schema: "../../../schema/schema.graphql",
  documents: ["codegen/documents.ts"],
  generates: {
    "codegen/.generated/": {
      preset: "client",
      config: {
        strictScalars: true,
        scalars: { DateTime: "string", Long: "string", JSON: "unknown", UUID: "string" },
      },
    },
  },
};

export default config;
