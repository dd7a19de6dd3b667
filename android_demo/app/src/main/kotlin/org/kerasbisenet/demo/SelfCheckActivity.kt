package org.kerasbisenet.demo

import android.app.Activity
import android.content.Context
import android.content.Intent
import android.os.Bundle
import android.os.Handler
import android.os.Looper
import android.view.MenuItem
import android.view.View
import android.widget.Button
import android.widget.ProgressBar
import android.widget.TextView
import org.kerasbisenet.demo.core.Golden
import org.kerasbisenet.demo.core.Json
import org.kerasbisenet.demo.core.Reason
import org.kerasbisenet.demo.core.SelfCheck
import org.kerasbisenet.demo.core.Unusable

/** Replays the model's golden file on this device, by the backend that the user chose. */
class SelfCheckActivity : Activity() {
    private lateinit var run: CheckRun

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        setContentView(R.layout.self_check)
        actionBar?.setDisplayHomeAsUpEnabled(true)
        val settings = Settings(this)
        run = lastNonConfigurationInstance as? CheckRun
            ?: CheckRun(applicationContext, settings.backend, settings.threads, intent.getIntExtra(REPEAT, 50)).also { it.start() }
        run.onChange = ::show
        findViewById<View>(R.id.share_text).setOnClickListener { run.report?.let { share(it.text()) } }
        findViewById<View>(R.id.share_json).setOnClickListener { run.report?.let { share(Json.write(it.json())) } }
        show()
    }

    @Deprecated("Deprecated in Java")
    override fun onRetainNonConfigurationInstance(): Any = run

    override fun onDestroy() {
        run.onChange = {}
        if (!isChangingConfigurations) run.interrupt()
        super.onDestroy()
    }

    override fun onOptionsItemSelected(item: MenuItem): Boolean {
        if (item.itemId == android.R.id.home) finish()
        return super.onOptionsItemSelected(item)
    }

    private fun show() {
        val report = run.report
        val trouble = run.trouble
        findViewById<TextView>(R.id.verdict).text = when {
            trouble != null -> sentence(trouble)
            report == null -> getString(R.string.check_running)
            report.passed -> getString(R.string.check_passes)
            else -> getString(R.string.check_fails)
        }
        findViewById<TextView>(R.id.report).text = report?.text()
        findViewById<ProgressBar>(R.id.progress).apply {
            visibility = if (report == null && trouble == null) View.VISIBLE else View.GONE
            max = run.steps
            progress = run.step
        }
        for (id in listOf(R.id.share_text, R.id.share_json)) findViewById<Button>(id).isEnabled = report != null
    }

    private fun share(text: String) {
        val send = Intent(Intent.ACTION_SEND).setType("text/plain").putExtra(Intent.EXTRA_TEXT, text)
        startActivity(Intent.createChooser(send, getString(R.string.share_report)))
    }

    companion object {
        /** How many inferences to measure. */
        const val REPEAT = "repeat"
    }
}

/** One self-check, on a thread of its own; it outlives the activity's turns. */
class CheckRun(
    private val context: Context, private val backend: Backend, private val threads: Int, private val repeat: Int,
) : Thread("self-check") {
    /** Called on the main thread. */
    var onChange = {}

    @Volatile var report: CheckReport? = null
        private set

    @Volatile var trouble: Trouble? = null
        private set

    @Volatile var step = 0
        private set

    @Volatile var steps = 1
        private set

    private val main = Handler(Looper.getMainLooper())
    private val tell = Runnable { onChange() }
    private val crashMark = CrashMark(context)

    override fun run() {
        try {
            report = check()
        } catch (error: InterruptedException) {
            return
        } catch (error: Unusable) {
            trouble = Trouble.Model(error)
        } catch (error: OutOfMemoryError) {
            trouble = Trouble.Memory
        } catch (error: Throwable) { // a driver's, in whatever way
            trouble = Trouble.Failed(Engine.reason(error))
        }
        main.post(tell)
    }

    private fun check(): CheckReport {
        val file = ModelStore(context).load()
        val golden = Golden.read(file.golden ?: throw Unusable(Reason.GOLDEN_MISSING), file.bytes)
        crashMark.set(backend)
        val engine = try {
            Engine.open(file.bytes, backend, threads)
        } finally {
            crashMark.clear()
        }
        engine.use {
            steps = golden.count + SelfCheck.WARM_UP + repeat
            val check = SelfCheck(golden, engine.network)
            val comparison = check.compare { stepTo(it) }
            val latency = check.measure(repeat) { stepTo(golden.count + it) }
            return CheckReport(file, golden, engine, threads, comparison, latency)
        }
    }

    private fun stepTo(done: Int) {
        if (isInterrupted) throw InterruptedException()
        step = done
        main.post(tell)
    }
}
