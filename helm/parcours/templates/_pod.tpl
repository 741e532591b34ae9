{{/* What every pod of this chart has, whatever it runs. */}}

{{/* The restricted pod security standard, without a token of the cluster. */}}
{{- define "parcours.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "parcours.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{- define "parcours.imageFields" -}}
image: {{ include "parcours.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end -}}

{{- define "parcours.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* The secret that holds one of `secrets`. Call with (list $ "rootKey"). */}}
{{- define "parcours.secretName" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $secret := index $root.Values.secrets $name -}}
{{- if $secret.existingSecret -}}
{{- $secret.existingSecret -}}
{{- else if eq $name "rootKey" -}}
{{- printf "%s-root-key" (include "parcours.fullname" $root) -}}
{{- else -}}
{{- include "parcours.fullname" $root -}}
{{- end -}}
{{- end -}}

{{/* An environment variable from one of `secrets`. Call with (list $ "rootKey" "PARCOURS_ROOT_KEY"). */}}
{{- define "parcours.secretEnv" -}}
{{- $root := index . 0 -}}
- name: {{ index . 2 }}
  valueFrom:
    secretKeyRef:
      name: {{ include "parcours.secretName" . }}
      key: {{ (index $root.Values.secrets (index . 1)).key }}
{{- end -}}

{{/* What opens the store. */}}
{{- define "parcours.storeEnv" -}}
{{ include "parcours.secretEnv" (list . "databaseUrl" "PARCOURS_DATABASE_URL") }}
{{ include "parcours.secretEnv" (list . "rootKey" "PARCOURS_ROOT_KEY") }}
- name: PARCOURS_LOG_JSON
  value: {{ .Values.settings.logJson | quote }}
{{- end -}}

{{- define "parcours.hasRedis" -}}
{{- if or .Values.secrets.redisUrl.existingSecret .Values.secrets.redisUrl.value }}true{{ end -}}
{{- end -}}

{{/*
Every setting of a running process, and the only place where its options are named. Call with
(list $ "worker"). Every process serves its probes and metrics.
*/}}
{{- define "parcours.env" -}}
{{- $root := index . 0 -}}
{{- $kind := index . 1 -}}
{{- $any := eq $root.Values.ipFamily "IPv6" | ternary "[::]" "0.0.0.0" -}}
- name: PARCOURS_ROLES
  value: {{ $kind }}
- name: PARCOURS_LISTEN
  value: {{ printf "%s:8080" $any | quote }}
{{ include "parcours.storeEnv" $root }}
{{ include "parcours.secretEnv" (list $root "rpc" "PARCOURS_RPC_SECRET") }}
{{- if include "parcours.hasRedis" $root }}
{{ include "parcours.secretEnv" (list $root "redisUrl" "PARCOURS_REDIS_URL") }}
{{- end }}
{{- with $root.Values.settings.otlp }}
- name: PARCOURS_OTLP
  value: {{ . | quote }}
- name: PARCOURS_TRACE_SHARE
  value: {{ $root.Values.settings.traceShare | quote }}
{{- end }}
{{- if eq $kind "worker" }}
- name: PARCOURS_ACTIVE_CONTACTS
  value: {{ $root.Values.settings.activeContacts | int64 | quote }}
- name: POD_IP
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
- name: PARCOURS_RPC_LISTEN
  value: {{ printf "%s:7070" $any | quote }}
- name: PARCOURS_RPC_ADVERTISE
  value: {{ eq $root.Values.ipFamily "IPv6" | ternary "[$(POD_IP)]:7070" "$(POD_IP):7070" | quote }}
{{- end }}
{{- if eq $kind "gateway" }}
- name: PARCOURS_MAILBOX_PAGE
  value: {{ $root.Values.settings.mailboxPage | quote }}
- name: PARCOURS_EVENTS_QUOTA
  value: {{ $root.Values.settings.eventsQuota | quote }}
{{- end }}
{{- if eq $kind "consent" }}
- name: PARCOURS_LINK_GUESSES
  value: {{ $root.Values.settings.linkGuesses | quote }}
- name: PARCOURS_TRUSTED_PROXIES
  value: {{ $root.Values.settings.trustedProxies | quote }}
{{- end }}
{{- end -}}
