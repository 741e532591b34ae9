{{/*
Which path of which kind of host goes to which service; all are prefixes. Metrics, probes and the
mailbox page are not here: who may see them is inside.
*/}}
{{- define "parcours.routes" -}}
public:
  - {path: /u, to: consent}
  - {path: /c, to: consent}
  - {path: /v1/identify, to: gateway}
  - {path: /v1/track, to: gateway}
  - {path: /v1/page, to: gateway}
  - {path: /v1/screen, to: gateway}
  - {path: /v1/group, to: gateway}
  - {path: /v1/alias, to: gateway}
  - {path: /v1/batch, to: gateway}
api:
  - {path: /v1, to: gateway}
  - {path: /docs, to: gateway}
  - {path: /openapi.json, to: gateway}
{{- end -}}
