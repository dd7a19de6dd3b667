package org.kerasbisenet.demo

import android.content.Context

/** What the user chose, kept between starts. */
class Settings(context: Context) {
    private val preferences = context.getSharedPreferences("settings", Context.MODE_PRIVATE)

    var backend: Backend
        get() = Backend.entries.find { it.name == preferences.getString("backend", null) && it.isOffered } ?: Backend.XNNPACK
        set(value) = preferences.edit().putString("backend", value.name).apply()

    var threads: Int
        get() = preferences.getInt("threads", defaultThreads)
        set(value) = preferences.edit().putInt("threads", value).apply()

    /** Of the overlay, 0 to 255. */
    var opacity: Int
        get() = preferences.getInt("opacity", 128)
        set(value) = preferences.edit().putInt("opacity", value).apply()

    /** The place in the list of sources; 0 is the first camera. */
    var source: String
        get() = preferences.getString("source", null) ?: ""
        set(value) = preferences.edit().putString("source", value).apply()

    companion object {
        val mostThreads get() = Runtime.getRuntime().availableProcessors().coerceIn(1, 8)
        private val defaultThreads get() = minOf(4, mostThreads)
    }
}
