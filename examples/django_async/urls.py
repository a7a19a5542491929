"""The routes."""

import jobs
from django.urls import path

urlpatterns = [
    path("jobs", jobs.start),
    path("events", jobs.events),
    path("jobs/<str:key>/result", jobs.result),
]
