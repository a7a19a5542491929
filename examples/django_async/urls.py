"""The routes."""

import jobs
from django.urls import path

urlpatterns = [
    path("jobs", jobs.start),
    path("jobs/<str:key>", jobs.show),
    path("jobs/<str:key>/result", jobs.result),
]
