{{/*
What must not be rendered, each with what to do. Included once, by the secrets' template.
*/}}
{{- define "parcours.guards" -}}
{{- range $name := list "databaseUrl" "rootKey" "rpc" -}}
{{- $secret := index $.Values.secrets $name -}}
{{- if not (or $secret.existingSecret $secret.value) -}}
{{- fail (printf "secrets.%s is missing: name an existing secret with secrets.%s.existingSecret (key %q), or give secrets.%s.value" $name $name $secret.key $name) -}}
{{- end -}}
{{- end -}}
{{- $atLeast := dict "gateway" 10 "worker" 50 "delivery" 620 "consent" 10 -}}
{{- range $name := splitList " " (include "parcours.kinds" .) -}}
{{- $kind := include "parcours.kind" (list $ $name) | fromYaml -}}
{{- $needed := add $kind.preStopSeconds (index $atLeast $name) -}}
{{- if lt (int $kind.terminationGracePeriodSeconds) (int $needed) -}}
{{- fail (printf "%s.terminationGracePeriodSeconds must be at least %d: preStopSeconds, and the %d s that an orderly stop may take" $name $needed (index $atLeast $name)) -}}
{{- end -}}
{{- if and $kind.autoscaling.enabled (gt (int $kind.autoscaling.minReplicas) (int $kind.autoscaling.maxReplicas)) -}}
{{- fail (printf "%s.autoscaling.minReplicas is above maxReplicas" $name) -}}
{{- end -}}
{{- if and $kind.autoscaling.enabled (not (dig "requests" "cpu" "" $kind.resources)) -}}
{{- fail (printf "%s.autoscaling goes by the share of the CPU asked for: give %s.resources.requests.cpu, or common.resources" $name $name) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.monitoring.podMonitor.enabled .Values.networkPolicy.enabled (not .Values.networkPolicy.metricsFrom) -}}
{{- fail "monitoring.podMonitor.enabled needs networkPolicy.metricsFrom: the peers that may read metrics, such as Prometheus' namespace" -}}
{{- end -}}
{{- range $name := list "ingress" "httpRoute" -}}
{{- $routes := index $.Values $name -}}
{{- if and $routes.enabled (not (concat $routes.public.hosts $routes.api.hosts)) -}}
{{- fail (printf "%s.enabled needs hosts: %s.public.hosts for links and tracking, %s.api.hosts for the API" $name $name $name) -}}
{{- end -}}
{{- range $host := $routes.public.hosts -}}
{{- if has $host $routes.api.hosts -}}
{{- fail (printf "%s: %s is both a public host and one of the API; the API would be public" $name $host) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.enabled needs httpRoute.parentRefs: the gateways that the routes belong to" -}}
{{- end -}}
{{- if and .Values.roundtrip.enabled (not .Values.roundtrip.adminKey.existingSecret) -}}
{{- fail "roundtrip.enabled needs roundtrip.adminKey.existingSecret: a secret with an admin key, which `parcours key create` makes" -}}
{{- end -}}
{{- if .Values.backup.enabled -}}
{{- if not .Values.backup.existingClaim -}}
{{- fail "backup.enabled needs backup.existingClaim: the volume that backups are written to" -}}
{{- end -}}
{{- if not .Values.backup.passphrase.existingSecret -}}
{{- fail "backup.enabled needs backup.passphrase.existingSecret: keys in a backup are wrapped under a passphrase" -}}
{{- end -}}
{{- end -}}
{{- end -}}
